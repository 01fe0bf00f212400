# frozen_string_literal: true

name 'test'
version '0.1.0'
depends 'tellhal'
