# frozen_string_literal: true

# The part of Chef that the handler uses, for a Ruby without Chef: as chef/lib/chef/handler.rb behaves in 17 and 18.
class Chef
  class Config
    @settings = {}
    class << self
      attr_reader :settings

      def [](name)
        @settings[name]
      end

      def []=(name, value)
        @settings[name] = value
      end

      # Chef reads files of client.d in this way.
      def from_string(text, file)
        instance_eval(text, file, 1)
      end
    end
  end

  module Log
    @lines = []
    class << self
      attr_reader :lines

      def warn(line)
        @lines << line
      end
      alias error warn
    end
  end

  class Handler
    attr_reader :run_status

    def report; end

    def run_report_safely(run_status)
      @run_status = run_status
      report
    rescue Exception => e # rubocop:disable Lint/RescueException
      Chef::Log.error("Report handler #{self.class.name} raised #{e.inspect}")
    ensure
      @run_status = nil
    end
  end
end
