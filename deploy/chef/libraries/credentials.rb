# frozen_string_literal: true

module TellhalCookbook
  # Secrets of NATS, and of services.
  module Credentials
    module_function

    # nkey_file for a key that deploy/nats/users or tellhal nkey made, creds_file for a file of nsc with a JWT in it.
    def nats_setting(secret)
      secret.match?(/\A\s*S[A-Z2-7]{57}\s*\z/) ? 'nkey_file' : 'creds_file'
    end

    # Raises ArgumentError for a name that several resources give a secret: a service has one folder of them, so that one would replace the
    # other's. +others+ are the names of each other resource.
    def check_names(names, others)
      names = names.map(&:to_s)
      others.each do |other, theirs|
        twice = names & theirs.map(&:to_s)
        next if twice.empty?

        raise ArgumentError, "the credential #{twice.join(', ')} is that of #{other} too; give it another name, or to one of them alone"
      end
    end
  end
end
