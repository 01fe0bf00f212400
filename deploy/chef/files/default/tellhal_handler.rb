# frozen_string_literal: true

# Tells how a Chef run ended, through the command tellhal. A file for /etc/chef/client.d (no gem, no cookbook is needed):
# Chef reads it before anything of a run can fail. Settings are in a JSON file of the same name beside it (tellhal.json for
# tellhal.rb), or arguments of Chef's own resource chef_handler; each has a default:
#
#   tag       tag of the messages: "chef.run"
#   severity  of a failure and of its end, so that the same rooms get both: "error"
#   success   false: a success is told only if it ends a failure; true: each; "changes": each that updated something
#   key       what the messages are about: "chef/" and the node's name
#   program   the command: "tellhal", looked for in PATH and in the usual folders
#   state     file that remembers failures: tellhal.json in Chef's file_cache_path
#
# It never fails or delays a run: errors are a line in Chef's log, and tellhal's process group is killed in time.

begin
  require 'fileutils'
  require 'json'
  require 'socket'
  require 'time'
  require 'chef/handler'

  module ::Tellhal
    class << self
      # The runs that this process has told; Chef may have the handler in its lists more than once.
      def told
        @told ||= []
      end
    end

    # This file may be read again in one process, by chef-client as a daemon or by a recipe.
    remove_const(:ChefHandler) if const_defined?(:ChefHandler, false)

    # A report and exception handler.
    class ChefHandler < ::Chef::Handler
      # Seconds for everything: a run must not be held up for more than two.
      LIMIT = 1.8
      # Bytes of one text, from its beginning and from its end.
      PART = 3000
      # Seconds after which a failure of the time before this handler is no news.
      NEWS = 86_400
      DEFAULTS = { 'tag' => 'chef.run', 'severity' => 'error', 'success' => false, 'program' => 'tellhal' }.freeze
      # Chef ends a run with these although nothing is wrong.
      NO_FAILURES = %w(Chef::Exceptions::Reboot Chef::Exceptions::RebootPending Chef::Exceptions::ClientUpgraded).freeze
      # "file[/x] (web::default line 3) had an error: Errno::ENOENT: ", one for each level of custom resources
      FAILED = /\A(?<resource>[^\n]{1,1000}?\]) \((?<place>[^\n]{1,1000}? line \d+|dynamically defined)\) had an error: (?<class>[\w:]+): /
      IN_COOKBOOK = %r{/(?<cookbook>[\w.-]+)/(?<kind>recipes|attributes|libraries|resources|providers|definitions)/(?<file>[\w./-]+)\.rb:(?<line>\d+)}
      FOLDERS = %w(/usr/local/bin /usr/bin /bin /opt/tellhal/bin).freeze

      attr_reader :options

      # Chef's resource chef_handler gives its arguments as one positional Hash, so these are no keywords.
      def initialize(options = {})
        super()
        given = Array(options.is_a?(Hash) ? [options] : options).grep(Hash).reduce({}, :merge)
        @options = DEFAULTS.merge(given.transform_keys(&:to_s).compact)
      end

      def report
        @deadline = now + LIMIT
        return if beside_the_point? || told_before?

        state = State.new(state_file, File.join(cache, 'chef-stacktrace.out'), safely { run_status.start_time } || Time.now)
        exception ? tell_failure(state) : tell_success(state)
      rescue StandardError, ScriptError => e
        log("#{e.class}: #{e.message}")
      end

      private

      def now
        Process.clock_gettime(Process::CLOCK_MONOTONIC)
      end

      # Early failures leave parts of the run's status unset, and Chef's own accessors then raise.
      def safely
        yield
      rescue StandardError
        nil
      end

      def log(line)
        ::Chef::Log.warn("tellhal: #{clean(line)[0, 500].tr("\n", ' ')}")
      rescue StandardError
        nil
      end

      def exception
        @run_status.exception
      end

      def beside_the_point?
        return true if ::Chef::Config[:why_run]
        return false unless exception

        NO_FAILURES.include?(exception.class.name) || (exception.is_a?(SystemExit) && exception.success?)
      end

      def told_before?
        run = [safely { run_status.run_id } || run_status.object_id, exception.nil?]
        return true if ::Tellhal.told.include?(run)

        ::Tellhal.told.push(run).shift([::Tellhal.told.size - 100, 0].max)
        false
      end

      def cache
        ::Chef::Config[:file_cache_path] || '/var/chef/cache'
      end

      def state_file
        options['state'] || File.join(cache, 'tellhal.json')
      end

      def tell_failure(state)
        failure = Failure.new(exception, records, sensitive_names)
        title = "Chef failed on #{node_name}: #{failure.heading}"
        text = [failure.text, summary, state.untold_text].compact.join("\n")
        sent = tell('failed', options['severity'], title, text, failure.fields)
        state.failed(sent ? nil : failure.text)
      end

      def tell_success(state)
        if state.failing?
          text = ["It had failed since #{state.since}.", summary, state.untold_text].compact.join("\n")
          sent = tell('resolved', options['severity'], "Chef is well again on #{node_name}", text)
          state.well if sent
        else
          tell('succeeded', 'info', "Chef succeeded on #{node_name}", summary) if success_told?
          state.seen
        end
      end

      def success_told?
        options['success'].to_s == 'changes' ? updated.any? : options['success'].to_s == 'true'
      end

      def node_name
        clean(safely { run_status.node.name } || ::Chef::Config[:node_name] || Socket.gethostname)
      end

      def records
        safely { run_status.run_context.action_collection.action_records } || []
      end

      def updated
        safely do
          top = records.select { |record| record.status == :updated && record.nesting_level.zero? }
          top.map { |record| clean(record.new_resource.to_s) }.uniq
        end || []
      end

      # Chef forgets in its records which resources were sensitive.
      def sensitive_names
        resources = safely { run_status.run_context.resource_collection.all_resources } || []
        resources.select { |resource| safely { resource.sensitive } }.map(&:to_s)
      end

      def elapsed
        safely { run_status.elapsed_time } || safely { run_status.end_time - run_status.start_time }
      end

      def summary
        names = updated
        took = elapsed ? "after #{format('%.1f', elapsed)} s, " : ''
        line = case names.size
               when 0 then 'nothing updated'
               when 1 then "1 resource updated: #{names.first}"
               else "#{names.size} resources updated: #{names.first(10).join(', ')}"
               end
        line += ", and #{names.size - 10} more" if names.size > 10
        took + line
      end

      def fields
        all = { 'node' => node_name, 'updated' => updated.size.to_s }
        all['seconds'] = format('%.1f', elapsed) if elapsed
        run_id = safely { run_status.run_id }
        all['run_id'] = run_id if run_id
        all
      end

      # The text goes through a pipe: it may hold what no other user should see in the list of processes.
      def tell(status, severity, title, text, more = {})
        program = find_program
        unless program
          log("#{options['program']} is not installed; a failure is told by the next run")
          return false
        end
        all = fields.merge(more).flat_map { |name, value| ['--field', "#{name}=#{clean(value)[0, 500].tr("\n", ' ')}"] }
        budget = [((@deadline - now - 0.3) * 1000).to_i, 100].max
        command = [program, '-t', options['tag'].to_s, '-s', severity.to_s, '--status', status,
                   '--key', (options['key'] || "chef/#{node_name}").to_s, '--title', clean(title)[0, 200].tr("\n", ' '),
                   *all, '--timeout', "#{budget}ms", '-p']
        Sending.new(command, clean(text), @deadline).run { |line| log(line) }
      rescue StandardError => e
        log("#{e.class}: #{e.message}")
        false
      end

      def find_program
        name = options['program'].to_s
        places = name.include?('/') ? [name] : (ENV['PATH'].to_s.split(':') + FOLDERS).map { |dir| File.join(dir, name) }
        places.find { |path| File.file?(path) && File.executable?(path) }
      end

      def clean(text)
        Text.clean(text)
      end

      # Any object's text as bounded UTF-8 without control characters.
      module Text
        def self.clean(text)
          text = text.to_s.dup.force_encoding(Encoding::UTF_8).scrub('?').gsub(/[^[:print:]\n\t]/, '?')
          text.size > 2 * PART ? "#{text[0, PART]}\n[...]\n#{text[-PART, PART]}" : text
        end
      end

      # Where a run failed: from the exception, whose message names the resource, or from its backtrace.
      class Failure
        attr_reader :message

        def initialize(exception, records, sensitive)
          @exceptions = wrapped(exception)
          @first = @exceptions.first
          @records = records
          @chain, rest = Failure.chain(safe_message(@first))
          withheld = @chain.any? && (@chain.any? { |hop| sensitive.include?(hop[:resource]) } || forgotten?)
          @message = withheld ? '(withheld, since the resource is sensitive)' : Text.clean(rest)
          @withheld = withheld
        end

        # The resources that a message names, outermost first, and the text behind them.
        def self.chain(message)
          hops = []
          while hops.size < 20 && (match = FAILED.match(message))
            hops << { resource: match[:resource], place: match[:place], class: match[:class] }
            message = match.post_match
          end
          [hops, message]
        end

        def heading
          @chain.any? ? "#{resource} (#{place})" : [class_name, place].compact.join(' in ')
        end

        def text
          lines = ["#{class_name}: #{message}"]
          lines << "resource: #{@chain.map { |hop| "#{hop[:resource]} (#{hop[:place]})" }.join(' > ')}" if @chain.any?
          lines << "recipe: #{place}" if @chain.empty? && place
          others = @exceptions.drop(1).map { |other| "further error: #{other.class}#{detail(other)}" }
          (lines + others.first(5)).join("\n")
        end

        def fields
          { 'exception' => class_name, 'resource' => resource, 'action' => action, 'recipe' => place }.compact
        end

        private

        # Chef collects the errors of a run and of its delayed notifications.
        def wrapped(exception)
          errors = exception.wrapped_errors if exception.respond_to?(:wrapped_errors)
          errors = exception.instance_variable_get(:@all_failures)&.map(&:last) if exception.class.name.to_s.end_with?('::MultipleFailures')
          all = Array(errors).grep(Exception)
          all.empty? ? [exception] : all
        end

        def safe_message(exception)
          exception.message.to_s.dup.force_encoding(Encoding::UTF_8).scrub('?')
        rescue StandardError
          ''
        end

        def detail(other)
          hops, rest = Failure.chain(safe_message(other))
          return ": #{Text.clean(rest)[0, 500]}" if hops.empty?

          " of #{hops.last[:resource]} (#{hops.first[:place]})"
        end

        def class_name
          @chain.any? ? @chain.last[:class] : @first.class.name.to_s
        end

        # The resource that a recipe names; one inside a custom resource is in the text.
        def resource
          @chain.any? ? Text.clean(@chain.first[:resource]) : nil
        end

        def place
          return Text.clean(@chain.first[:place]) if @chain.any?

          @place ||= Array(@first.backtrace).lazy.filter_map { |line| IN_COOKBOOK.match(line.to_s) }.first.then do |match|
            next unless match

            recipe = match[:kind] == 'recipes' ? "#{match[:cookbook]}::#{match[:file]}" : "#{match[:cookbook]}/#{match[:kind]}/#{match[:file]}.rb"
            "#{recipe} line #{match[:line]}"
          end
        end

        def failed_record
          @failed_record ||= @records.reverse.find { |record| record.status == :failed && record.new_resource.to_s == @chain.first&.dig(:resource) }
        end

        def action
          failed_record&.action&.to_s
        end

        # Chef replaces a sensitive resource in its records by a bare one of the same name.
        def forgotten?
          names = @chain.map { |hop| hop[:resource] }
          @records.any? do |record|
            record.status == :failed && names.include?(record.new_resource.to_s) &&
              (record.new_resource.sensitive || record.new_resource.source_line.nil?)
          end
        end
      end

      # A file that remembers from run to run which failure is open, and which could not be told.
      class State
        # `trace` is Chef's own file about a failure; it counts if this state is new and the file is older than `start`.
        def initialize(path, trace, start)
          @path = path
          @before = read
          @now = @before || earlier(trace, start)
        end

        def failing?
          !@now['failing'].nil?
        end

        def since
          @now['failing']
        end

        def untold_text
          untold = @now['untold']
          "A run at #{untold['at']} failed and could not tell it: #{untold['text']}" if untold.is_a?(Hash)
        end

        # A failure; `untold` is its text unless it was told.
        def failed(untold)
          at = Time.now.utc.iso8601
          save('failing' => since || at, 'untold' => untold && { 'at' => at, 'text' => Text.clean(untold) })
        end

        def well
          save({})
        end

        def seen
          save(@now)
        end

        private

        def read
          return unless File.file?(@path) && File.size(@path) < 100_000

          content = JSON.parse(File.read(@path))
          content if content.is_a?(Hash)
        rescue StandardError
          nil
        end

        # A run that failed before this handler was there has left Chef's own file.
        def earlier(trace, start)
          at = File.mtime(trace)
          return {} unless at < start && start - at < NEWS

          head = File.open(trace) { |file| file.read(20_000) }.to_s.force_encoding(Encoding::UTF_8).scrub('?')
          lines = head.lines.reject { |line| line.start_with?('Generated at ') }
          text = lines.take_while { |line| line !~ /\.rb:\d+:in / && !line.start_with?('>>>>') }.join.strip
          { 'failing' => at.utc.iso8601, 'untold' => { 'at' => at.utc.iso8601, 'text' => described(text) } }
        rescue StandardError
          {}
        end

        # Whether a resource was sensitive is not in that file, so only its name is told.
        def described(text)
          hops, = Failure.chain(text.sub(/\A[\w:]+: /, ''))
          hops.empty? ? Text.clean(text) : "#{hops.first[:resource]} (#{hops.first[:place]}) had an error: #{hops.last[:class]}"
        end

        def save(content)
          content = content.compact
          return if content == @before

          FileUtils.mkdir_p(File.dirname(@path))
          temporary = "#{@path}.#{Process.pid}"
          File.write(temporary, JSON.generate(content), perm: 0o600)
          File.rename(temporary, @path)
        ensure
          FileUtils.rm_f(temporary) if temporary
        end
      end

      # One start of the command, with its text on standard input and a time at which its whole process group is killed.
      class Sending
        def initialize(command, text, deadline)
          @command = command
          @rest = text
          @deadline = deadline
          @errors = +''
        end

        # True if tellhal has kept the message. Yields a line for the log otherwise.
        def run
          input, @input = IO.pipe
          @output, output = IO.pipe
          pid = Process.spawn(*@command, in: input, out: File::NULL, err: output, pgroup: true, close_others: true)
          [input, output].each(&:close)
          status = wait(pid)
          pid = nil if status
          return true if status == :ended_well

          yield(status ? "#{status}: #{@errors.strip}" : 'killed, since it took too long')
          false
        ensure
          stop(pid) if pid
          [input, output, @input, @output].compact.each { |io| io.close unless io.closed? }
        end

        private

        def wait(pid)
          while remaining.positive?
            feed
            drain
            ended, status = Process.wait2(pid, Process::WNOHANG)
            if ended
              drain
              return status.success? ? :ended_well : "ended with #{status.exitstatus || "signal #{status.termsig}"}"
            end
            # A command that has its text, and a command that has not, are both looked at soon again.
            sleep([0.01, [remaining, 0].max].min)
          end
          nil
        end

        def remaining
          @deadline - Process.clock_gettime(Process::CLOCK_MONOTONIC)
        end

        def feed
          return if @input.closed?

          @rest = @rest.byteslice(@input.write_nonblock(@rest)..) until @rest.empty?
          @input.close
        rescue IO::WaitWritable
          nil
        rescue SystemCallError
          @input.close
        end

        def drain
          loop do
            read = @output.read_nonblock(4096)
            @errors << read if @errors.size < 2000
          end
        rescue IO::WaitReadable, EOFError
          nil
        end

        def stop(pid)
          Process.kill('KILL', -pid)
          Process.detach(pid)
        rescue SystemCallError
          nil
        end
      end

      private_constant :Text, :Failure, :State, :Sending
    end
  end

  # Settings beside this file; without them, or with unreadable ones, the defaults hold.
  settings = begin
    JSON.parse(File.read(__FILE__.sub(/\.rb\z/, '.json')))
  rescue StandardError
    {}
  end
  tellhal_handler = ::Tellhal::ChefHandler.new(settings)
  %i(report_handlers exception_handlers).each do |list|
    others = Array(::Chef::Config[list]).reject { |handler| handler.class.name == 'Tellhal::ChefHandler' }
    ::Chef::Config[list] = others + [tellhal_handler]
  end
rescue StandardError, ScriptError => e
  warn "tellhal: the handler of Chef runs is not there: #{e.class}: #{e.message}"
end
