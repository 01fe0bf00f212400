# frozen_string_literal: true

require 'json'

provides :tellhal_handler
unified_mode true

description 'Tells how Chef runs end: from this run on, and in each further one before anything of it can fail.'

property :instance_name, String, name_property: true,
  description: 'A name; it has no meaning.'
property :folder, String, default: lazy { Chef::Config[:client_d_dir] || '/etc/chef/client.d' },
  description: 'The folder of Chef\'s own configuration files; client.d beside client.rb when absent.'
property :tag, String, default: 'chef.run', regex: /\A[\w-]+(\.[\w-]+)*\z/,
  description: 'Tag of the messages.'
property :severity, String, default: 'error', equal_to: %w(debug info notice warning error critical),
  description: 'Severity of a failure, and of its end.'
property :success, [true, false, String], default: false, equal_to: [true, false, 'changes'],
  description: 'Whether successes are told: false, true, or \'changes\' for those that updated something. The end of a failure always is.'
property :key, String,
  description: 'Key of the messages; chef/ and the node\'s name when absent.'
property :program, String,
  description: 'The command; tellhal, in the PATH or the usual folders, when absent.'

action_class do
  def settings
    names = %i(tag severity success key program)
    names.to_h { |name| [name.to_s, new_resource.send(name)] }.compact
  end
end

action :enable, description: 'Installs the handler, and enables it for this run.' do
  code = ::File.join(new_resource.folder, 'tellhal.rb')

  directory new_resource.folder do
    recursive true
  end

  # The settings come first: a run that reads the code finds them.
  file ::File.join(new_resource.folder, 'tellhal.json') do
    content "#{JSON.pretty_generate(settings)}\n"
    mode '0644'
  end

  cookbook_file code do
    cookbook 'tellhal'
    source 'tellhal_handler.rb'
    mode '0644'
  end

  # Chef has read client.d before the file was there, or before it was changed.
  Chef::Config.from_string(::File.read(code), code) if ::File.exist?(code) && !Chef::Config[:why_run]
end

action :disable, description: 'Removes the handler, from this run too.' do
  %w(tellhal.rb tellhal.json).each do |name|
    file ::File.join(new_resource.folder, name) do
      action :delete
    end
  end

  %i(report_handlers exception_handlers).each do |list|
    Chef::Config[list].delete_if { |handler| handler.class.name == 'Tellhal::ChefHandler' }
  end
end
