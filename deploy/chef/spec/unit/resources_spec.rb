# frozen_string_literal: true

require_relative '../spec_helper'

describe 'test::default' do
  step_into :tellhal_handler, :tellhal_install, :tellhal_config, :tellhal_message, :hal_relay, :hal_bridge

  default_attributes['test']['tarball'] = 'https://example.com/tellhal-0.1.0.tar.gz'
  default_attributes['test']['checksum'] = 'a' * 64
  default_attributes['test']['url'] = 'nats://nats1:4222'
  default_attributes['test']['credentials'] = '-----BEGIN NATS USER JWT-----'

  before do
    # The tarball is not there: what it would install is.
    allow(File).to receive(:exist?).and_call_original
    allow(File).to receive(:exist?).with('/usr/local/share/tellhal/installed').and_return(true)
    %w(tellhal hal-relay hal-bridge).each do |name|
      allow(File).to receive(:exist?).with("/usr/local/bin/#{name}").and_return(true)
    end
    allow(File).to receive(:read).and_call_original
    allow(File).to receive(:read).with('/usr/local/share/tellhal/installed')
                                 .and_return("#{'a' * 64} tellhal hal-relay hal-bridge\n")
  end

  it 'installs the handler as a file of client.d, with its settings' do
    is_expected.to create_cookbook_file(%r{client\.d/tellhal\.rb$}).with(source: 'tellhal_handler.rb')
    is_expected.to render_file(%r{client\.d/tellhal\.json$}).with_content('"tag": "chef.test"')
  end

  it 'fetches the tarball by its checksum and installs the old name' do
    is_expected.to create_remote_file(/tellhal-aaaaaaaaaaaa-tellhal-0\.1\.0\.tar\.gz$/).with(checksum: 'a' * 64)
    is_expected.to create_template('/usr/local/sbin/notify-ops').with(mode: '0755')
    is_expected.to render_file('/usr/local/sbin/notify-ops').with_content('exec /usr/local/bin/tellhal "$@"')
  end

  it 'checks the configuration, and keeps the credentials apart' do
    is_expected.to render_file('/etc/tellhal/tellhal.toml').with_content('creds_file = "/etc/tellhal/host.creds"')
    is_expected.to create_file('/etc/tellhal/host.creds').with(mode: '0640', sensitive: true)
  end

  context 'with a key' do
    default_attributes['test']['credentials'] = "SU#{'A' * 56}\n"

    it { is_expected.to render_file('/etc/tellhal/tellhal.toml').with_content('nkey_file = "/etc/tellhal/host.creds"') }
  end

  it 'merges the files of teams' do
    is_expected.to render_file('/etc/tellhal/relay.d/relay.toml').with_content('default_room = "hook"')
    is_expected.to render_file('/etc/tellhal/relay.d/backups.toml').with_content('[[routes]]')
    is_expected.to render_file('/etc/tellhal/bridge.d/bridge.toml').with_content('[[people]]')
    is_expected.to create_file('/etc/tellhal/credentials/hal-relay/hook').with(mode: '0600', sensitive: true)
  end

  it 'tells a change by a notification, and nothing of itself' do
    expect(chef_run.file('/etc/tellhal/changed')).to notify('tellhal_message[a file was changed]').to(:tell).delayed
    expect(chef_run.tellhal_message('a file was changed').performed_actions).to be_empty
  end
end

describe 'tellhal::default' do
  default_attributes['tellhal']['config']['nats']['url'] = 'nats://nats1:4222'
  default_attributes['tellhal']['relay']['relay']['default_room'] = 'ops'

  it 'does all from attributes, the handler first' do
    is_expected.to enable_tellhal_handler('default')
    is_expected.to install_tellhal_install('default').with(packages: ['tellhal'])
    is_expected.to create_tellhal_config('default').with(settings: { 'nats' => { 'url' => 'nats://nats1:4222' } })
    is_expected.to create_hal_relay('relay').with(settings: { 'default_room' => 'ops' })
    expect(chef_run.resource_collection.first.declared_type).to eq(:tellhal_handler)
  end

  context 'without the handler' do
    default_attributes['tellhal']['handler']['enabled'] = false

    it { is_expected.to disable_tellhal_handler('default') }
  end
end

describe 'what users set' do
  step_into :hal_relay, :tellhal_install

  context 'with packages' do
    recipe do
      hal_relay 'relay' do
        program ''
        credentials('slack' => 'xoxb-1')
      end
      tellhal_install 'default' do
        version '0.1.0'
      end
    end

    it 'installs packages and runs the unit' do
      is_expected.to install_package('hal-relay')
      is_expected.to enable_service('hal-relay.service')
      is_expected.to start_service('hal-relay.service')
    end

    it 'hands the secrets to the unit, and restarts it' do
      is_expected.to create_directory('/etc/tellhal/credentials/hal-relay').with(mode: '0700')
      is_expected.to render_file('/etc/systemd/system/hal-relay.service.d/chef-relay.conf')
        .with_content("[Service]\nLoadCredential=slack:/etc/tellhal/credentials/hal-relay/slack\n")
    end

    it 'installs the wanted version' do
      is_expected.to install_package('tellhal').with(version: '0.1.0')
    end
  end

  context 'with the same name of a secret twice' do
    recipe do
      %w(relay web).each do |name|
        hal_relay name do
          program ''
          credentials('slack' => name)
        end
      end
    end

    it { expect { subject }.to raise_error(/slack is that of hal_relay\[web\] too/) }
  end

  context 'with a source and no checksum' do
    recipe { tellhal_install('default') { source 'https://example.com/tellhal.tar.gz' } }

    it { expect { subject }.to raise_error(/checksum must be given/) }
  end
end
