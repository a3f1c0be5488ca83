# What fish offers behind `sessiond`.

complete -c sessiond -f
complete -c sessiond -n __fish_use_subcommand -s c -l config -r -F -d 'The configuration'
complete -c sessiond -n __fish_use_subcommand -l check -d 'Check the configuration'
complete -c sessiond -n __fish_use_subcommand -l print-config -d 'Print the built-in example'
complete -c sessiond -n __fish_use_subcommand -s h -l help -d 'Print how it is used'
complete -c sessiond -n __fish_use_subcommand -s V -l version -d 'Print the version'

complete -c sessiond -n __fish_use_subcommand -a token -d 'Make a token for an account'
complete -c sessiond -n '__fish_seen_subcommand_from token' -l role -x -a 'basic admin' -d 'What the account may do'
