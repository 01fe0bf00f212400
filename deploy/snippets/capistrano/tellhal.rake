# lib/capistrano/tasks/tellhal.rake: tells when a deployment starts, ends and fails. No shell reads the words, and a tellhal that is missing or
# fails is no failure of the deployment.
namespace :tellhal do
  tell = lambda do |status, severity, text|
    system('/usr/bin/tellhal', '-t', 'deploy', '-s', severity, '--status', status,
           '--key', "deploy/#{fetch(:application)}/#{fetch(:stage)}",
           '--', "#{fetch(:application)} #{fetch(:current_revision)} #{text} #{fetch(:stage)}".squeeze(' '))
  end

  task(:started) { tell.call('started', 'info', 'is being deployed to') }
  task(:finished) { tell.call('succeeded', 'info', 'is deployed to') }
  task(:failed) { tell.call('failed', 'error', 'could not be deployed to') }
end

after 'deploy:starting', 'tellhal:started'
after 'deploy:finished', 'tellhal:finished'
after 'deploy:failed', 'tellhal:failed'
