# frozen_string_literal: true

require 'chefspec'

RSpec.configure do |config|
  config.platform = 'debian'
  config.cookbook_path = [File.expand_path('../..', __dir__), File.expand_path('../test/cookbooks', __dir__)]
end
