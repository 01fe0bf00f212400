# frozen_string_literal: true

# All of tellhal from attributes.

# First, so that a failure of what follows is told.
handler = node['tellhal']['handler'].to_h
tellhal_handler 'default' do
  handler.except('enabled').each { |name, value| send(name, value) }
  action handler['enabled'] ? :enable : :disable
end

install = node['tellhal']['install'].to_h
tellhal_install 'default' do
  install.except('enabled').each { |name, value| send(name, value) }
  only_if { install['enabled'] }
end

tellhal_config 'default' do
  settings node['tellhal']['config'].to_h
end

node['tellhal']['relay'].each do |name, values|
  hal_relay name do
    settings values.to_h
  end
end

node['tellhal']['bridge'].each do |name, values|
  hal_bridge name do
    settings values.to_h
  end
end
