# frozen_string_literal: true

name 'tellhal'
run_list 'test::default'

cookbook 'tellhal', path: '.'
cookbook 'test', path: 'test/cookbooks/test'
