# frozen_string_literal: true

provides :tellhal_config
unified_mode true

description 'Writes the configuration of tellhal, and this host\'s credentials. A wrong one is refused by tellhal check and the old one stays.'

property :path, String, default: '/etc/tellhal/tellhal.toml',
  description: 'The file.'
property :instance_name, String, name_property: true,
  description: 'A name; it has no meaning.'
property :settings, Hash, default: {},
  description: 'The contents, as in tellhal --help: { \'nats\' => { \'url\' => \'nats://nats1:4222\' } }.'
property :credentials, String, sensitive: true,
  description: 'A key of deploy/nats/users, or a NATS credentials file: it is written to credentials_path, which becomes nats.nkey_file or creds_file.'
property :credentials_path, String, default: '/etc/tellhal/host.creds',
  description: 'The file of the credentials.'
property :owner, [String, Integer], default: 'root',
  description: 'Owner of both files.'
property :group, [String, Integer], default: 'root',
  description: 'Group of both files; it may read the credentials.'
property :program, String, default: 'tellhal',
  description: 'The program that checks the file before it is used; an empty text checks nothing.'

action_class do
  include TellhalCookbook::Toml
  include TellhalCookbook::Credentials

  def contents
    settings = new_resource.settings.to_h.transform_keys(&:to_s)
    return settings unless new_resource.credentials

    nats = (settings['nats'] || {}).to_h.transform_keys(&:to_s)
    settings.merge('nats' => nats.merge(nats_setting(new_resource.credentials) => new_resource.credentials_path))
  end
end

action :create, description: 'Writes the files.' do
  [new_resource.path, new_resource.credentials_path].map { |path| ::File.dirname(path) }.uniq.each do |folder|
    directory folder do
      recursive true
    end
  end

  # Before the configuration: it is checked with the files that it names.
  if new_resource.credentials
    file new_resource.credentials_path do
      content new_resource.credentials
      owner new_resource.owner
      group new_resource.group
      mode '0640'
      sensitive true
    end
  end

  text = render_toml(contents)
  check = new_resource.program
  file new_resource.path do
    content text
    owner new_resource.owner
    group new_resource.group
    mode '0644'
    verify "#{check} check %{path}" unless check.empty?
  end
end

action :delete, description: 'Removes the files.' do
  [new_resource.path, new_resource.credentials_path].each do |path|
    file path do
      action :delete
    end
  end
end
