# frozen_string_literal: true

provides :hal_bridge
unified_mode true

description 'Configures and runs hal-bridge, which takes in chat commands, schedules, monitors and webhooks. The package brings its unit and its user.'

# As `use '_service'`, which fails in Chef 17 on a Ruby of 3.1 or later.
service = ::File.expand_path('_service.rb', ::File.dirname(__FILE__))
class_eval(::File.read(service), service)
