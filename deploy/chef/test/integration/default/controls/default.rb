# frozen_string_literal: true

control 'tellhal' do
  title 'tellhal is there, configured, and under its old name too'

  describe command('tellhal check') do
    its('exit_status') { should eq 0 }
  end

  describe command('/usr/local/sbin/notify-ops --version') do
    its('exit_status') { should eq 0 }
    its('stdout') { should match(/^tellhal /) }
  end
end

control 'handler' do
  title 'Chef runs are told'

  describe file('/etc/chef/client.d/tellhal.rb') do
    it { should be_file }
    its('owner') { should eq 'root' }
    its('mode') { should cmp '0644' }
  end

  describe json('/etc/chef/client.d/tellhal.json') do
    its('tag') { should eq 'chef.test' }
  end
end

control 'services' do
  title 'The configurations of the services are good, and their secrets are not for everybody'

  describe command('hal-bridge check --config /etc/tellhal/bridge.d') do
    its('exit_status') { should eq 0 }
  end

  describe file('/etc/tellhal/credentials/hal-relay/hook') do
    its('mode') { should cmp '0600' }
  end
end
