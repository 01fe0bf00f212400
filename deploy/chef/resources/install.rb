# frozen_string_literal: true

require 'tmpdir'

provides :tellhal_install
unified_mode true

description 'Installs tellhal, from a package repository, from one package file, or from the tarball of a release.'

property :instance_name, String, name_property: true,
  description: 'A name; it has no meaning.'
property :source, String,
  description: 'Address or path of a .deb, a .rpm or a .tar.gz. A package of a configured repository is installed when absent.'
property :checksum, String, regex: /\A\h{64}\z/,
  description: 'SHA-256 of the source; must be given with it.'
property :packages, [String, Array], default: 'tellhal', coerce: proc { |value| Array(value) },
  description: 'Names of packages, when there is no source.'
property :version, String,
  description: 'Version of the packages, when there is no source; any when absent.'
property :prefix, String, default: '/usr/local',
  description: 'Folder for the programs of a tarball, in its bin.'
property :programs, Array, default: %w(tellhal),
  description: 'Programs to take from a tarball.'
property :wrapper, String, regex: %r{\A/[\w./-]+\z},
  description: 'Path of an old script that is to be tellhal from now on, with its old calls, such as /usr/local/sbin/notify-ops.'

action_class do
  def tarball?
    new_resource.source.match?(/\.(tar\.gz|tgz)\z/)
  end

  def downloaded
    ::File.join(Chef::Config[:file_cache_path], "tellhal-#{new_resource.checksum[0, 12]}-#{::File.basename(new_resource.source)}")
  end

  def address
    new_resource.source.start_with?('/') ? "file://#{new_resource.source}" : new_resource.source
  end

  def install_packages
    new_resource.packages.each do |name|
      package name do
        version new_resource.version if new_resource.version
      end
    end
  end

  def fetch
    raise Chef::Exceptions::ValidationFailed, 'tellhal_install: checksum must be given with source' unless new_resource.checksum

    remote_file downloaded do
      source address
      checksum new_resource.checksum
      mode '0600'
    end
  end

  def install_package_file
    file = downloaded
    if file.end_with?('.rpm')
      rpm_package 'tellhal' do
        source file
        action :upgrade
      end
    else
      dpkg_package 'tellhal' do
        source file
        # Chef has written the configuration, so dpkg must not ask about it.
        options '--force-confdef --force-confold'
        # What another version has installed is replaced.
        action :upgrade
      end
    end
  end

  # The programs are put in place by a rename: a job that starts meanwhile finds the old one or the new one.
  def unpack
    file = downloaded
    mark = "#{new_resource.prefix}/share/tellhal/installed"
    bin = "#{new_resource.prefix}/bin"
    names = new_resource.programs

    [bin, ::File.dirname(mark)].each do |folder|
      directory folder do
        recursive true
      end
    end
    installed = "#{new_resource.checksum} #{names.join(' ')}\n"
    present = ::File.exist?(mark) && ::File.read(mark) == installed && names.all? { |name| ::File.exist?("#{bin}/#{name}") }
    return if present

    converge_by "unpack #{names.join(', ')} of #{file} into #{bin}" do
      ::Dir.mktmpdir('.tellhal', new_resource.prefix) do |folder|
        shell_out!('tar', '-xzf', file, '-C', folder, '--no-same-owner')
        names.each do |name|
          # Beside it in a tarball may be a completion or a manual of the same name.
          found = ::Dir.glob("#{folder}/**/#{name}").find { |path| ::File.file?(path) && ::File.executable?(path) }
          raise "#{new_resource.source} has no program #{name}" unless found

          ::File.chmod(0o755, found)
          ::File.rename(found, "#{bin}/.#{name}.new")
          ::File.rename("#{bin}/.#{name}.new", "#{bin}/#{name}")
        end
      end
      ::File.write(mark, installed)
    end
  end

  def tellhal
    return "#{new_resource.prefix}/bin/tellhal" if new_resource.source && tarball?

    '/usr/bin/tellhal'
  end

  def wrap
    program = tellhal
    directory ::File.dirname(new_resource.wrapper) do
      recursive true
    end

    template new_resource.wrapper do
      cookbook 'tellhal'
      source 'wrapper.erb'
      variables(program: program)
      mode '0755'
    end
  end
end

action :install, description: 'Installs tellhal.' do
  if new_resource.source.nil?
    install_packages
  else
    fetch
    tarball? ? unpack : install_package_file
  end
  wrap if new_resource.wrapper
end

action :remove, description: 'Removes what this resource has installed; messages in the spool stay.' do
  if new_resource.source && tarball?
    (new_resource.programs.map { |name| "bin/#{name}" } + ['share/tellhal/installed']).each do |path|
      file "#{new_resource.prefix}/#{path}" do
        action :delete
      end
    end
  else
    package new_resource.packages do
      action :remove
    end
  end

  if new_resource.wrapper
    file new_resource.wrapper do
      action :delete
    end
  end
end
