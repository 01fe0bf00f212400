# frozen_string_literal: true

# For a node that only sets attributes and has recipe[tellhal] in its run list. Secrets do not belong here, since a node's
# attributes are saved in clear: a recipe of your own gives them to the resources.

# The handler of Chef runs, with the properties of tellhal_handler: tag, severity, success, key, program.
default['tellhal']['handler']['enabled'] = true

# Properties of tellhal_install: source with checksum, or packages and version; wrapper for an old script's name.
default['tellhal']['install']['enabled'] = true

# The contents of /etc/tellhal/tellhal.toml: default['tellhal']['config']['nats']['url'] = 'nats://nats1:4222'
default['tellhal']['config'] = {}

# Files of the relay and of the bridge, by name: default['tellhal']['relay']['relay']['default_room'] = 'ops'
default['tellhal']['relay'] = {}
default['tellhal']['bridge'] = {}
