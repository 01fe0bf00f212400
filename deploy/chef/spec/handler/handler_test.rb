# frozen_string_literal: true

# The handler by plain Ruby, with recorded runs of Chef 17 and 18:
#   ruby -I deploy/chef/spec/handler/stub deploy/chef/spec/handler/handler_test.rb
# With TELLHAL (the program) and TELLHAL_URL (a server that has the stream HAL_OPS) set, with a real tellhal too.

require 'minitest/autorun'
require 'minitest/mock'
require 'tmpdir'
require 'timeout'
require 'open3'
require_relative 'recorded'
require 'chef/handler'

HANDLER = File.expand_path('../../files/default/tellhal_handler.rb', __dir__)

# What all tests need: a folder with Chef's cache, the handler as a file of client.d, and a fake tellhal that notes its calls.
class HandlerTest < Minitest::Test
  def setup
    @dir = Dir.mktmpdir
    @calls = File.join(@dir, 'calls')
    Chef::Config.settings.clear
    Chef::Config.settings.merge!(file_cache_path: File.join(@dir, 'cache'), report_handlers: [], exception_handlers: [])
    Chef::Log.lines.clear
    FileUtils.mkdir_p(Chef::Config[:file_cache_path])
    Tellhal.told.clear if defined?(Tellhal)
  end

  def teardown
    FileUtils.rm_rf(@dir)
  end

  def program(text)
    path = File.join(@dir, 'tellhal')
    File.write(path, "#!/bin/sh\n#{text}\n", perm: 0o755)
    path
  end

  # Notes arguments and standard input as one JSON line of a call.
  def noting(status = 0)
    File.write(File.join(@dir, 'note.rb'), <<~RUBY)
      require 'json'
      File.write(#{@calls.inspect}, JSON.generate([ARGV, $stdin.read]) + "\\n", mode: 'a')
      exit #{status}
    RUBY
    program("exec #{Gem.ruby} --disable=gems #{File.join(@dir, 'note.rb')} \"$@\"")
  end

  # Reads the handler as Chef reads client.d. Its limit of time is a long one, for slow machines, but where it is what is tested.
  def install(settings = { 'program' => noting }, name: 'tellhal', limit: 60)
    file = File.join(@dir, "#{name}.rb")
    File.write(file, File.read(HANDLER))
    File.write(File.join(@dir, "#{name}.json"), JSON.generate(settings))
    Chef::Config.from_string(File.read(file), file)
    return unless limit

    Tellhal::ChefHandler.send(:remove_const, :LIMIT)
    Tellhal::ChefHandler.const_set(:LIMIT, limit)
  end

  # Chef runs its exception handlers after a failure, and its report handlers after a success.
  def end_of(status)
    list = status.exception ? :exception_handlers : :report_handlers
    Chef::Config[list].each { |handler| handler.run_report_safely(status) }
  end

  def run_of(name, version = 18)
    end_of(Recorded.run(version, name))
  end

  Call = Struct.new(:tag, :severity, :status, :key, :title, :fields, :text, keyword_init: true)

  def calls
    return [] unless File.exist?(@calls)

    File.readlines(@calls).map { |line| call_of(*JSON.parse(line)) }
  end

  def call_of(arguments, text)
    values = arguments.each_cons(2).group_by(&:first).transform_values { |pairs| pairs.map(&:last) }
    fields = values.fetch('--field', []).to_h { |field| field.split('=', 2) }
    Call.new(tag: values['-t'][0], severity: values['-s'][0], status: values['--status'][0], key: values['--key'][0],
      title: values['--title'][0], fields: fields, text: text)
  end

  def only_call
    assert_equal 1, calls.size, Chef::Log.lines.join("\n")
    calls.first
  end
end

# The contents of messages.
class MessageTest < HandlerTest
  [17, 18].each do |version|
    define_method("test_a_failing_resource_of_chef_#{version}") do
      install
      run_of('default', version)
      call = only_call
      assert_equal 'Chef failed on web1.example.com: file[/nonexistent/folder/file] (web::default line 5)', call.title
      assert_equal %w(chef.run error failed chef/web1.example.com), [call.tag, call.severity, call.status, call.key]
      assert_equal 'Chef::Exceptions::EnclosingDirectoryDoesNotExist', call.fields['exception']
      assert_equal ['file[/nonexistent/folder/file]', 'create', 'web::default line 5'], call.fields.values_at('resource', 'action', 'recipe')
      assert_includes call.text, 'EnclosingDirectoryDoesNotExist: Parent directory /nonexistent/folder does not exist.'
      assert_match(/^after \d+\.\d s, /, call.text)
    end

    define_method("test_early_failures_of_chef_#{version}") do
      install
      {
        'compile' => ['NoMethodError in web::compile line 3', 'undefined_method_here'],
        'include' => ['Chef::Exceptions::RecipeNotFound in web::include line 1', 'could not find recipe absent for cookbook web'],
        'cookbook' => ['Chef::Exceptions::CookbookNotFound', 'Cookbook absent not found'],
        'syntax' => ['SyntaxError', 'recipes/syntax.rb:1: syntax error'],
      }.each do |name, (heading, text)|
        run_of(name, version)
        assert_equal "Chef failed on web1.example.com: #{heading}", calls.last.title
        assert_includes calls.last.text, text
        assert_match(/^after \d+\.\d s, nothing updated$/, calls.last.text)
      end
      assert_equal 4, calls.size
    end

    define_method("test_a_command_and_what_was_updated_of_chef_#{version}") do
      install
      run_of('command', version)
      assert_includes calls.last.text, 'STDERR: cannot connect'
      run_of('delayed', version)
      assert_includes calls.last.text, '1 resource updated: file[/tmp/changed]'
      assert_includes calls.last.text, 'further error: Mixlib::ShellOut::ShellCommandFailed of execute[reload one] (web::delayed line 1)'
      assert_equal 'file[/nonexistent/folder/file]', calls.last.fields['resource']
      run_of('ignored', version)
      assert_equal 'execute[may not]', calls.last.fields['resource']
    end

    define_method("test_custom_and_sensitive_resources_of_chef_#{version}") do
      install
      run_of('nested', version)
      assert_includes calls.last.text, 'resource: web_site[main] (web::nested line 1) > file[/nonexistent/main/index] (web::nested line 6)'
      assert_includes calls.last.text, 'Parent directory /nonexistent/main does not exist'
      %w(secret nested_secret).each do |name|
        run_of(name, version)
        refute_includes calls.last.text, 'Parent directory', name
        assert_includes calls.last.text, 'withheld, since the resource is sensitive'
        assert_includes calls.last.text, 'EnclosingDirectoryDoesNotExist'
      end
    end
  end

  # Chef reads client.d before it sets an encoding, and ends if it cannot: under cron there is often none but LANG=C.
  def test_the_file_is_read_in_any_locale
    assert File.binread(HANDLER).ascii_only?, 'a character beyond ASCII ends every run of Chef under LANG=C'
    output, status = Open3.capture2e({ 'LANG' => 'C', 'LC_ALL' => 'C' }, Gem.ruby, '-c', HANDLER)
    assert status.success?, output
  end

  def test_a_run_that_has_nothing_yet
    install
    status = Recorded::Status.new(nil, nil, nil, nil, nil, IOError.new("no\xff server\e[31m\0"), nil)
    Chef::Config[:node_name] = 'early.example.com'
    end_of(status)
    assert_equal 'Chef failed on early.example.com: IOError', only_call.title
    assert_includes only_call.text, 'IOError: no? server?[31m?'
    assert_includes only_call.text, 'nothing updated'
  end

  def test_a_text_is_bounded_and_not_among_the_arguments
    install
    status = Recorded.run(18, 'compile')
    status.exception = RuntimeError.new("password #{'x' * 1_000_000} end")
    end_of(status)
    assert_operator only_call.text.bytesize, :<, 10_000
    assert_includes only_call.text, 'x end'
    refute_includes only_call.title + only_call.fields.to_s, 'password'
  end
end

# What is told, and when.
class TellingTest < HandlerTest
  def test_a_run_is_told_once_however_often_the_handler_is_there
    install
    # A file read again, and one under an older name.
    install
    install({ 'program' => noting }, name: 'older')
    assert_equal [1, 1], [Chef::Config[:report_handlers].size, Chef::Config[:exception_handlers].size]
    # By hand in client.rb, by a recipe, in both lists.
    3.times { Chef::Config[:exception_handlers] << Tellhal::ChefHandler.new({ 'program' => noting }) }
    status = Recorded.run(18, 'default')
    end_of(status)
    Chef::Config[:report_handlers].each { |handler| handler.run_report_safely(status) }
    assert_equal 1, calls.size
    run_of('default')
    assert_equal 2, calls.size
  end

  def test_a_success_is_told_only_if_asked_for
    install
    run_of('good')
    assert_empty calls
    install({ 'program' => noting, 'success' => true })
    run_of('good')
    assert_equal %w(succeeded info), [only_call.status, only_call.severity]
    assert_includes only_call.text, '1 resource updated: file[/tmp/good]'
    install({ 'program' => noting, 'success' => 'changes' })
    status = Recorded.run(18, 'good')
    status.run_context.action_collection.action_records.each { |record| record.status = :up_to_date }
    end_of(status)
    assert_equal 1, calls.size
    run_of('good')
    assert_equal 2, calls.size
  end

  def test_the_end_of_a_failure_is_resolved_once_with_the_same_key
    install
    run_of('default')
    run_of('compile')
    run_of('good')
    run_of('good')
    assert_equal %w(failed failed resolved), calls.map(&:status)
    assert_equal 1, calls.map(&:key).uniq.size
    assert_equal %w(error), calls.map(&:severity).uniq
    assert_match(/\AIt had failed since 20\S+Z\.$/, calls.last.text)
  end

  def test_an_end_that_could_not_be_told_is_told_by_the_next_run
    install
    run_of('default')
    install({ 'program' => '/nonexistent/tellhal' })
    run_of('good')
    install
    run_of('good')
    assert_equal %w(failed resolved), calls.map(&:status)
  end

  def test_without_tellhal_the_next_run_tells
    install({ 'program' => '/nonexistent/tellhal' })
    run_of('compile')
    assert_match(/not installed/, Chef::Log.lines.join)
    install({ 'program' => noting(75) })
    run_of('include')
    assert_match(/ended with 75/, Chef::Log.lines.join)
    File.delete(@calls)
    install
    run_of('good')
    assert_equal 'resolved', only_call.status
    assert_match(/A run at 20\S+Z failed and could not tell it: .*RecipeNotFound.*could not find recipe absent/, only_call.text)
  end

  def test_a_failure_before_the_handler_was_there_is_told
    File.write(File.join(Chef::Config[:file_cache_path], 'chef-stacktrace.out'), <<~TEXT)
      Generated at 2026-11-28 11:50:04 +0000
      NoMethodError: undefined method `x' for cookbook: web, recipe: compile :Chef::Recipe
      /cookbooks/web/recipes/compile.rb:3:in `from_file'
    TEXT
    File.utime(Time.now - 1800, Time.now - 1800, File.join(Chef::Config[:file_cache_path], 'chef-stacktrace.out'))
    install
    run_of('good')
    assert_equal 'resolved', only_call.status
    assert_includes only_call.text, "NoMethodError: undefined method `x' for cookbook: web, recipe: compile"
    refute_includes only_call.text, 'from_file'
    run_of('good')
    assert_equal 1, calls.size
  end

  def test_an_old_failure_before_the_handler_was_there_is_no_news
    trace = File.join(Chef::Config[:file_cache_path], 'chef-stacktrace.out')
    File.write(trace, "Generated at x\nNoMethodError: x\n")
    File.utime(Time.now - 200_000, Time.now - 200_000, trace)
    install
    run_of('good')
    assert_empty calls
  end

  def test_no_run_that_only_tries_and_no_reboot_is_told
    install
    Chef::Config[:why_run] = true
    run_of('default')
    Chef::Config[:why_run] = nil
    status = Recorded.run(18, 'default')
    status.exception = Recorded.class_of('Chef::Exceptions::Reboot').new('rebooting')
    end_of(status)
    assert_empty calls
  end

  def test_arguments_of_chef_handler
    install
    [[], [{}], [{ tag: 'a.b', 'key' => 'k' }], [[{ tag: 'a.b' }, { key: 'k' }]], [nil]].each { |given| Tellhal::ChefHandler.new(*given) }
    handler = Tellhal::ChefHandler.new({ tag: 'a.b', 'key' => 'k', severity: 'warning', program: noting })
    handler.run_report_safely(Recorded.run(18, 'default'))
    assert_equal %w(a.b warning k), [only_call.tag, only_call.severity, only_call.key]
  end
end

# It never fails or delays a run.
class HarmlessTest < HandlerTest
  def gone?(pid)
    File.read("/proc/#{pid}/stat").split(') ').last.start_with?('Z')
  rescue Errno::ENOENT, Errno::ESRCH
    true
  end

  def test_a_tellhal_that_hangs_is_killed_with_all_that_it_has_started
    pids = File.join(@dir, 'pids')
    # Neither reads its input nor ends when it is asked to.
    install({ 'program' => program("trap '' TERM INT HUP; sleep 600 & echo $! $$ >#{pids}.new; mv #{pids}.new #{pids}; wait") }, limit: nil)
    status = Recorded.run(18, 'default')
    status.exception = RuntimeError.new('x' * 5000)
    Timeout.timeout(120) { end_of(status) }
    assert_match(/killed, since it took too long/, Chef::Log.lines.join)
    # On a slow machine it may be killed before it has noted anything.
    started = File.exist?(pids) ? File.read(pids).split.map(&:to_i) : []
    Timeout.timeout(60) { sleep 0.05 until started.all? { |pid| gone?(pid) } }
    assert_operator Tellhal::ChefHandler::LIMIT, :<, 2
  end

  def test_a_tellhal_that_floods_or_closes_its_input_is_no_harm
    ['exec <&-; sleep 0.1; exit 3', 'head -c 3000000 /dev/zero >&2; exit 3', 'kill -9 $$'].each do |script|
      install({ 'program' => program(script) })
      Timeout.timeout(60) { run_of('default') }
      assert_operator Chef::Log.lines.last.size, :<, 600
    end
    assert_match(/ended with 3/, Chef::Log.lines.first)
    assert_match(/ended with signal 9/, Chef::Log.lines.last)
  end

  def test_unreadable_settings_and_states_are_no_harm
    install
    File.write(File.join(@dir, 'tellhal.json'), '{ not json')
    Chef::Config.from_string(File.read(HANDLER), File.join(@dir, 'tellhal.rb'))
    assert_equal 'chef.run', Chef::Config[:report_handlers].first.options['tag']
    install({ 'program' => noting, 'state' => File.join(@dir, 'state') })
    ['[1]', '{"failing": 7, "untold": 3}', "\xff", '{'].each do |state|
      File.write(File.join(@dir, 'state'), state)
      run_of('default')
    end
    assert_equal 4, calls.size
    install({ 'program' => noting, 'state' => '/proc/nonexistent/state' })
    run_of('default')
    assert_equal 5, calls.size
  end

  def test_no_error_of_it_reaches_chef
    # It cannot remember, or does not know its own options.
    install({ 'program' => noting, 'state' => '/proc/nonexistent/state' })
    run_of('default')
    install({ 'program' => noting, 'tag' => nil })
    Chef::Config[:exception_handlers].each { |handler| handler.options.clear }
    run_of('default')
    assert_match(%r{\Atellhal: .*/proc/nonexistent}, Chef::Log.lines.first)
    assert_equal 2, Chef::Log.lines.size
    refute_match(/raised/, Chef::Log.lines.join)
    # Chef cannot take it up.
    _output, errors = capture_io do
      Chef::Config.stub(:[]=, ->(*) { raise 'a frozen configuration' }) { install(limit: nil) }
    end
    assert_equal "tellhal: the handler of Chef runs is not there: RuntimeError: a frozen configuration\n", errors
  end

  def test_a_program_that_cannot_run
    path = program('exit 0')
    File.write(path, "#!/nonexistent/interpreter\n")
    install({ 'program' => path })
    run_of('default')
    install
    run_of('good')
    assert_match(/could not tell it/, only_call.text)
  end

  def test_exceptions_that_raise_themselves
    install
    broken = Class.new(StandardError) { def message = raise('no message') }
    status = Recorded.run(18, 'compile')
    status.exception = broken.new
    end_of(status)
    assert_equal 'failed', only_call.status
  end
end

# With a real tellhal and a real server.
class RealTest < HandlerTest
  def test_messages_arrive
    skip 'TELLHAL and TELLHAL_URL are not set' unless ENV['TELLHAL'] && ENV['TELLHAL_URL']

    ENV['TELLHAL_SPOOL'] = File.join(@dir, 'spool')
    ENV['TELLHAL_SOURCE'] = 'web1'
    install({ 'program' => ENV['TELLHAL'] })
    run_of('nested')
    run_of('good')
    output, errors, status = Open3.capture3(ENV['TELLHAL'], 'listen', 'chef.run', '--since', '1h', '--json', '--count', '2')
    assert status.success?, errors
    failed, resolved = output.lines.map { |line| JSON.parse(line) }
    assert_equal %w(failed resolved), [failed['status'], resolved['status']]
    assert_equal %w(chef/web1.example.com chef/web1.example.com), [failed['key'], resolved['key']]
    assert_equal 'web_site[main]', failed['fields']['resource']
    assert_includes failed['text'], 'Parent directory /nonexistent/main does not exist.'
    assert_empty Chef::Log.lines
  end

  def test_without_a_server_the_spool_keeps_it
    skip 'TELLHAL is not set' unless ENV['TELLHAL']

    before = ENV.to_h
    ENV['TELLHAL_SPOOL'] = File.join(@dir, 'spool')
    ENV['TELLHAL_URL'] = 'nats://127.0.0.1:1'
    install({ 'program' => ENV['TELLHAL'] }, limit: 10)
    run_of('default')
    assert_equal 1, Dir.glob(File.join(@dir, 'spool/**/new/*')).size
    state = JSON.parse(File.read(File.join(Chef::Config[:file_cache_path], 'tellhal.json')))
    refute state.key?('untold')
  ensure
    ENV.replace(before) if before
  end
end
