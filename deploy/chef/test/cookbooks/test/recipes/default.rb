# frozen_string_literal: true

# Each resource once. The tarball and its checksum are attributes, given by what converges it.

tellhal_handler 'default' do
  tag 'chef.test'
end

tellhal_install 'default' do
  source node['test']['tarball']
  checksum node['test']['checksum']
  programs %w(tellhal hal-relay hal-bridge)
  wrapper '/usr/local/sbin/notify-ops'
end

tellhal_config 'default' do
  settings('source' => 'web1', 'nats' => { 'url' => node['test']['url'] })
  credentials node['test']['credentials'] if node['test']['credentials']
end

hal_relay 'relay' do
  package_name nil
  service_name nil
  group 'root'
  settings(
    'default_room' => 'hook',
    'nats' => { 'url' => node['test']['url'] },
    'page' => { 'listen' => '127.0.0.1:0' },
    'rooms' => { 'hook' => { 'webhook' => { 'url_file' => '/run/credentials/hal-relay.service/hook', 'allow_private' => true } } }
  )
  credentials('hook' => 'http://127.0.0.1:9000/in')
end

# A team's file: it has no default room, and is right only beside the other.
hal_relay 'backups' do
  package_name nil
  service_name nil
  group 'root'
  settings('routes' => [{ 'name' => 'backups', 'tag' => 'backup.>', 'rooms' => ['hook'] }])
end

hal_bridge 'bridge' do
  package_name nil
  service_name nil
  group 'root'
  settings(
    'nats' => { 'url' => node['test']['url'] },
    'people' => [{ 'name' => 'oncall', 'roles' => ['operator'], 'page' => 'oncall' }],
    'commands' => [{ 'name' => '*', 'allow' => ['operator'] }]
  )
end

file '/etc/tellhal/changed' do
  content "once\n"
  notifies :tell, 'tellhal_message[a file was changed]'
end

tellhal_message 'a file was changed' do
  tag 'chef.file'
  severity 'notice'
  fields('file' => '/etc/tellhal/changed')
end
