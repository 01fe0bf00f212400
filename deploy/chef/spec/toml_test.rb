# frozen_string_literal: true

# The configurations that the cookbook renders, checked by the programs that read them:
#   TELLHAL=… HAL_RELAY=… HAL_BRIDGE=… ruby deploy/chef/spec/toml_test.rb

require 'minitest/autorun'
require 'json'
require 'open3'
require 'tmpdir'
require_relative '../libraries/credentials'
require_relative '../libraries/toml'

class TomlTest < Minitest::Test
  include TellhalCookbook::Toml

  # The settings of a resource in the test cookbook's recipe, which calls resources of Chef.
  class Recipe < BasicObject
    def self.settings(resource, name)
      recipe = new
      recipe.instance_eval(::File.read(::File.expand_path('../test/cookbooks/test/recipes/default.rb', __dir__)))
      recipe.found.fetch([resource, name])
    end

    attr_reader :found

    def initialize
      @found = ::Hash.new { |all, key| all[key] = nil }
    end

    def node
      ::Hash.new { |_all, key| key == 'url' ? 'nats://127.0.0.1:4222' : nil }.tap { |inner| inner['test'] = inner }
    end

    def settings(values)
      @found[@current] = values
    end

    def method_missing(word, name = nil, *_more, &block)
      return unless block

      @current = [word, name]
      instance_eval(&block)
    end

    def respond_to_missing?(*)
      true
    end
  end

  # Text with all that an ops message's configuration may hold.
  TRAPS = {
    'text' => "quotes \" and \\ and\ttabs\nlines \u0000 \u007f é 🚀",
    'keys' => { 'a.b' => 1, 'with space' => 2, '' => 3, 'é' => 4, :symbol => :value },
    'numbers' => [1, -2.5, 1e30, 1e-7, 0.0],
    'empty' => { 'list' => [], 'table' => {} },
    'nothing' => nil,
    'deep' => { 'tables' => [{ 'inner' => [{ 'x' => [[1], ['a']] }] }, { 'y' => { 'z' => true } }] },
    'mixed' => [1, { 'x' => 'y' }],
  }.freeze

  def checked(program, *arguments)
    output, status = Open3.capture2e(ENV.fetch(program), *arguments)
    assert status.success?, output
  end

  def written(text, name = 'x.toml')
    Dir.mktmpdir do |dir|
      path = File.join(dir, name)
      File.write(path, text)
      yield path
    end
  end

  def test_the_recipes_configurations_are_good
    written(render_toml(Recipe.settings(:tellhal_config, 'default'))) { |path| checked('TELLHAL', 'check', path) }
    Dir.mktmpdir do |dir|
      File.write(File.join(dir, 'hook'), 'http://127.0.0.1:9000/in')
      %w(relay backups).each do |name|
        text = render_toml(Recipe.settings(:hal_relay, name))
        File.write(File.join(dir, "#{name}.toml"), text.sub('/run/credentials/hal-relay.service', dir))
      end
      checked('HAL_RELAY', 'check', '--config', dir)
    end
    written(render_toml(Recipe.settings(:hal_bridge, 'bridge'))) { |path| checked('HAL_BRIDGE', 'check', '--config', File.dirname(path)) }
  end

  def test_a_wrong_configuration_is_refused
    written(render_toml('nats' => { 'urls' => 'x' })) do |path|
      _output, status = Open3.capture2e(ENV.fetch('TELLHAL'), 'check', path)
      assert_equal 78, status.exitstatus
    end
  end

  def test_a_hosts_key_and_its_credentials_file_are_taken
    Dir.mktmpdir do |dir|
      key = File.join(dir, 'host.creds')
      checked('TELLHAL', 'nkey', key)
      setting = TellhalCookbook::Credentials.nats_setting(File.read(key))
      written(render_toml('nats' => { 'url' => 'nats://127.0.0.1:4222', setting => key })) { |path| checked('TELLHAL', 'check', path) }
    end
    assert_equal 'creds_file', TellhalCookbook::Credentials.nats_setting("-----BEGIN NATS USER JWT-----\nSU\n")
  end

  def test_a_secret_has_one_resource
    TellhalCookbook::Credentials.check_names(%w(slack nats), 'hal_relay[web]' => %i(matrix))
    error = assert_raises(ArgumentError) { TellhalCookbook::Credentials.check_names(%w(slack), 'hal_relay[web]' => %i(slack)) }
    assert_match(/slack is that of hal_relay\[web\] too/, error.message)
  end

  def test_python_reads_what_was_meant
    script = 'import sys,tomllib,json; json.dump(tomllib.load(open(sys.argv[1],"rb")), sys.stdout)'
    written(render_toml(TRAPS)) do |path|
      output, status = Open3.capture2e('python3', '-c', script, path)
      assert status.success?, "#{output}\n#{File.read(path)}"
      read = JSON.parse(output)
      assert_equal JSON.parse(JSON.generate(plain(TRAPS))), read
    end
  end

  def test_values_that_toml_does_not_have_are_named
    error = assert_raises(ArgumentError) { render_toml('a' => { 'b' => Object.new }) }
    assert_equal 'a.b: TOML has no Object', error.message
    assert_match(/a\.b: .*number/, assert_raises(ArgumentError) { render_toml('a' => { 'b' => Float::NAN }) }.message)
    assert_match(/a: .*UTF-8/, assert_raises(ArgumentError) { render_toml('a' => "\xff") }.message)
  end

  def test_the_same_hash_gives_the_same_file
    assert_equal render_toml(TRAPS), render_toml(Marshal.load(Marshal.dump(TRAPS)))
  end
end
