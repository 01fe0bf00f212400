#!/bin/sh
# Answers the chat command `deploy TARGET`: arguments, progress, an answer, a failure. tellhal serve asks it, checks the
# bridge's signature and the argument, and shows the last line of output as progress:
#   tellhal serve deploy --exec ./handler.sh --arg 'target=staging|production' --bridge-key UC5C…
set -eu
echo "copying to $1"
sleep 0.1
echo "$1 is deployed for $TELLHAL_PERSON"
