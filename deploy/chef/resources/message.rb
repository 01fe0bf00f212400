# frozen_string_literal: true

provides :tellhal_message
unified_mode true

description 'Tells something from a recipe, at once or by notifies. A message that could not be kept is a warning, never a failure.'

property :text, String, name_property: true,
  description: 'The message.'
property :tag, String, required: [:tell], regex: /\A[\w-]+(\.[\w-]+)*\z/,
  description: 'Its tag.'
property :title, String,
  description: 'Headline of one line.'
property :severity, String, equal_to: %w(debug info notice warning error critical),
  description: 'Severity; info when absent.'
property :status, String, equal_to: %w(started succeeded failed resolved),
  description: 'What became of the thing that the key names.'
property :key, String,
  description: 'Name of the thing that the message is about.'
property :fields, Hash, default: {},
  description: 'Additional fields.'
property :links, [String, Array], default: [], coerce: proc { |value| Array(value) },
  description: 'Links to more information.'
property :program, String, default: 'tellhal',
  description: 'The command.'
property :require_kept, [true, false], default: false,
  description: 'Whether the run fails if the message is neither sent nor in the spool.'

action_class do
  def command
    single = { '-t' => :tag, '--title' => :title, '-s' => :severity, '--status' => :status, '--key' => :key }
    options = single.flat_map { |flag, name| new_resource.send(name) ? [flag, new_resource.send(name)] : [] }
    fields = new_resource.fields.flat_map { |name, value| ['--field', "#{name}=#{value}"] }
    [new_resource.program, *options, *fields, *new_resource.links.flat_map { |link| ['--link', link] }, '-p']
  end
end

action :tell, description: 'Sends it.' do
  converge_by "tell #{new_resource.tag}" do
    # The text is on standard input, not in the list of processes.
    shell_out!(*command, input: new_resource.text, timeout: 10)
  rescue Mixlib::ShellOut::ShellCommandFailed, Mixlib::ShellOut::CommandTimeout, SystemCallError => e
    raise if new_resource.require_kept

    Chef::Log.warn("tellhal_message: #{new_resource.tag} was not kept: #{e.message}")
  end
end

# Behind the actions, since Chef makes the first of them the default of a resource whose default is nothing.
default_action :nothing
