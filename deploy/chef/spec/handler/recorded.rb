# frozen_string_literal: true

require 'json'

# Runs as Chef 17 and 18 had them: recorded by a handler inside Chef itself, and made into objects again.
module Recorded
  Resource = Struct.new(:name, :sensitive, :source_line) do
    alias_method :to_s, :name
  end
  Record = Struct.new(:new_resource, :action, :status, :nesting_level)
  Node = Struct.new(:name)
  Actions = Struct.new(:action_records)
  Collection = Struct.new(:all_resources)
  Context = Struct.new(:action_collection, :resource_collection)
  Status = Struct.new(:node, :run_id, :elapsed_time, :start_time, :end_time, :exception, :run_context)

  module_function

  def all(version)
    JSON.parse(File.read(File.join(__dir__, "runs/chef-#{version}.json")))
  end

  # A run's status. Its id is a new one unless it is given: the handler tells a run once.
  def run(version, name, id: "#{name}-#{rand(1 << 60)}")
    data = all(version).fetch(name)
    resources = data['resources'].map { |resource| resource_of(resource) }
    records = data['records'].map do |record|
      Record.new(resource_of(record), record['action'].to_sym, record['status'].to_sym, record['nesting'])
    end
    # When nothing was compiled, Chef had no action collection yet.
    actions = records.empty? ? nil : Actions.new(records)
    Status.new(Node.new(data['node']), id, data['elapsed'], Time.now - 1, Time.now, exception_of(data['exception']),
      Context.new(actions, Collection.new(resources)))
  end

  def resource_of(data)
    Resource.new(data['to_s'], data['sensitive'], data['source_line'])
  end

  def exception_of(data)
    return unless data

    exception = class_of(data['class']).new(data['message'])
    exception.set_backtrace(data['backtrace'])
    failures = data['all_failures']
    exception.instance_variable_set(:@all_failures, failures.map { |place, error| [place, exception_of(error)] }) if failures
    exception
  end

  # Chef's own classes of exceptions are made as they are named.
  def class_of(name)
    names = name.split('::')
    last = names.pop
    parent = names.reduce(Object) do |scope, part|
      scope.const_defined?(part, false) ? scope.const_get(part, false) : scope.const_set(part, Module.new)
    end
    return parent.const_get(last) if parent.const_defined?(last, parent.equal?(Object))

    parent.const_set(last, Class.new(StandardError))
  end
end
