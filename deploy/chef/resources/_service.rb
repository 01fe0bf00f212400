# frozen_string_literal: true

# What hal_relay and hal_bridge have in common; their names make the defaults.

require 'fileutils'
require 'tmpdir'

property :instance_name, String, name_property: true,
  description: 'Name of the file in the folder, without .toml: several resources, such as one of each team, are merged.'
property :settings, Hash, default: {},
  description: 'The contents of this file, as in relay.toml or bridge.toml.'
property :credentials, Hash, default: {}, sensitive: true,
  description: 'Secrets by name, each of one resource alone. systemd hands them over; settings name: token_file = "/run/credentials/hal-relay.service/slack".'
property :credentials_folder, String, default: lazy { "/etc/tellhal/credentials/#{service_default}" },
  description: 'Folder of the secrets; root alone may read it.'
property :folder, String, default: lazy { "/etc/tellhal/#{service_default.delete_prefix('hal-')}.d" },
  description: 'Folder of the configuration.'
property :group, [String, Integer], default: lazy { service_default },
  description: 'Group of the service, which may read the configuration.'
property :package_name, [String, nil], default: lazy { service_default },
  description: 'The package to install; nil when it is there already.'
property :program, String, default: lazy { service_default },
  description: 'The program that checks the configuration before it is used; an empty text checks nothing.'
property :service_name, [String, nil], default: lazy { "#{service_default}.service" },
  description: 'The unit to enable, to start, and to give the secrets to; nil leaves services alone.'

# hal-relay of hal_relay.
def service_default
  resource_name.to_s.tr('_', '-')
end

action_class do
  include TellhalCookbook::Toml
  include TellhalCookbook::Credentials

  # A file may need what others define, such as the default room, so the folder is checked as it will be. The secrets are read where root
  # keeps them: systemd hands them over when the service starts.
  def check(path)
    return true if new_resource.program.empty?

    ::Dir.mktmpdir(new_resource.service_default) do |folder|
      others = ::Dir.glob(::File.join(new_resource.folder, '*.toml')).reject { |other| ::File.basename(other) == "#{new_resource.instance_name}.toml" }
      (others.to_h { |other| [::File.basename(other), other] }).merge("#{new_resource.instance_name}.toml" => path).each do |name, file|
        text = ::File.read(file).gsub("/run/credentials/#{unit}/", "#{new_resource.credentials_folder}/")
        ::File.write(::File.join(folder, name), text)
      end
      result = shell_out(new_resource.program, 'check', '--config', folder)
      Chef::Log.error("#{new_resource}: #{result.stderr}#{result.stdout}") if result.error?
      !result.error?
    end
  rescue Errno::ENOENT
    # Why-run has not installed the program.
    raise unless Chef::Config[:why_run]

    true
  end

  def unit
    new_resource.service_name || "#{new_resource.service_default}.service"
  end

  def drop_in
    "/etc/systemd/system/#{unit}.d/chef-#{new_resource.instance_name}.conf"
  end

  # The names of the secrets in the same folder, of each other resource of the run.
  def others_credentials
    all = run_context.root_run_context.resource_collection.all_resources
    others = all.select { |other| other.resource_name == new_resource.resource_name && other.instance_name != new_resource.instance_name }
    others.select { |other| other.credentials_folder == new_resource.credentials_folder }.to_h { |other| [other.to_s, other.credentials.keys] }
  end

  # The secrets, readable by root alone, and the lines of the unit that hand them to the service. True if something has changed.
  def hand_over_credentials
    directory new_resource.credentials_folder do
      mode '0700'
      recursive true
    end
    changed = new_resource.credentials.map do |name, secret|
      file ::File.join(new_resource.credentials_folder, name.to_s) do
        content secret
        mode '0600'
        sensitive true
      end
    end
    changed += name_credentials if new_resource.service_name
    changed.any?(&:updated_by_last_action?)
  end

  def name_credentials
    directory ::File.dirname(drop_in) do
      recursive true
    end
    lines = new_resource.credentials.keys.map { |name| "LoadCredential=#{name}:#{::File.join(new_resource.credentials_folder, name.to_s)}\n" }
    [file(drop_in) { content "[Service]\n#{lines.join}" }]
  end

  def forget_credentials
    file(drop_in) { action :delete }.updated_by_last_action?
  end

  def reload_units
    execute 'systemctl daemon-reload'
  end
end

action :create, description: 'Installs the package, writes the file and runs the service.' do
  check_names(new_resource.credentials.keys, others_credentials)
  package new_resource.package_name if new_resource.package_name

  directory new_resource.folder do
    recursive true
    mode '0755'
  end

  changed = new_resource.credentials.empty? ? forget_credentials : hand_over_credentials
  # The service reads secrets when it starts. It has them before the configuration that names them, which it reads as it is changed.
  if changed && new_resource.service_name
    reload_units
    service(new_resource.service_name) { action :restart }
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

action :delete, description: 'Removes this file and its secrets; the service and its package stay.' do
  file ::File.join(new_resource.folder, "#{new_resource.instance_name}.toml") do
    action :delete
  end

  reload_units if forget_credentials && new_resource.service_name

  new_resource.credentials.each_key do |name|
    file ::File.join(new_resource.credentials_folder, name.to_s) do
      action :delete
    end
  end
end

action :stop, description: 'Stops the service and disables it.' do
  service new_resource.service_name do
    action %i(disable stop)
  end
end
