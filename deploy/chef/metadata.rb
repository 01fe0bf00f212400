# frozen_string_literal: true

name 'tellhal'
maintainer 'The tellhal authors'
license 'Apache-2.0'
description 'Installs and configures tellhal, tells how Chef runs end, and runs hal-relay and hal-bridge'
version '0.1.0'
chef_version '>= 17.3'
supports 'debian'
supports 'ubuntu'
supports 'redhat'
supports 'centos'
supports 'rocky'
supports 'almalinux'
