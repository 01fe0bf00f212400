# frozen_string_literal: true

require 'fileutils'
require 'tmpdir'

provides :hal_bridge
unified_mode true

description 'Configures and runs hal-bridge, which takes in chat commands, schedules, monitors and webhooks. The package brings its unit and its user.'

property :instance_name, String, name_property: true,
  description: 'Name of the file in the folder, without .toml: several resources, such as one of each team, are merged.'
property :settings, Hash, default: {},
  description: 'The contents of this file, as in bridge.toml.'
property :credentials, Hash, default: {}, sensitive: true,
  description: 'Secrets by name. Each is a file in credentials_folder, which settings name: token_file = "/etc/tellhal/bridge.secrets/slack".'
property :credentials_folder, String, default: '/etc/tellhal/bridge.secrets',
  description: 'Folder of the secrets; the service\'s group may read it.'
property :folder, String, default: '/etc/tellhal/bridge.d',
  description: 'Folder of the configuration.'
property :group, [String, Integer], default: 'hal-bridge',
  description: 'Group of the service.'
property :package_name, [String, nil], default: 'hal-bridge',
  description: 'The package to install; nil when it is there already.'
property :program, String, default: 'hal-bridge',
  description: 'The program that checks the configuration before it is used; an empty text checks nothing.'
property :service_name, [String, nil], default: 'hal-bridge.service',
  description: 'The unit to enable and to start; nil leaves services alone.'

action_class do
  include TellhalCookbook::Toml

  # A file may need what others define, such as the default room, so the folder is checked as it will be.
  def check(path)
    return true if new_resource.program.empty?

    ::Dir.mktmpdir('hal-bridge') do |folder|
      others = ::Dir.glob(::File.join(new_resource.folder, '*.toml')).reject { |other| ::File.basename(other) == "#{new_resource.instance_name}.toml" }
      ::FileUtils.cp(others, folder)
      ::FileUtils.cp(path, ::File.join(folder, "#{new_resource.instance_name}.toml"))
      result = shell_out(new_resource.program, 'check', '--config', folder)
      Chef::Log.error("#{new_resource}: #{result.stderr}#{result.stdout}") if result.error?
      !result.error?
    end
  rescue Errno::ENOENT
    # Why-run has not installed the program.
    raise unless Chef::Config[:why_run]

    true
  end
end

action :create, description: 'Installs the package, writes the file and runs the service.' do
  package new_resource.package_name if new_resource.package_name

  directory new_resource.folder do
    recursive true
    mode '0755'
  end

  unless new_resource.credentials.empty?
    directory new_resource.credentials_folder do
      group new_resource.group
      mode '0750'
      recursive true
    end
  end

  new_resource.credentials.each do |name, secret|
    file ::File.join(new_resource.credentials_folder, name.to_s) do
      content secret
      group new_resource.group
      mode '0640'
      sensitive true
    end
  end

  text = render_toml(new_resource.settings)
  # The services see a changed file themselves, and stay on the last good one.
  file ::File.join(new_resource.folder, "#{new_resource.instance_name}.toml") do
    content text
    group new_resource.group
    mode '0640'
    verify { |path| check(path) }
  end

  if new_resource.service_name
    service new_resource.service_name do
      action %i(enable start)
    end
  end
end

action :delete, description: 'Removes this file; the service and its package stay.' do
  file ::File.join(new_resource.folder, "#{new_resource.instance_name}.toml") do
    action :delete
  end
end

action :stop, description: 'Stops the service and disables it.' do
  service new_resource.service_name do
    action %i(disable stop)
  end
end
