# What fish offers behind `sessiond`.

complete -c sessiond -f
complete -c sessiond -n __fish_use_subcommand -s c -l config -r -F -d 'The configuration'
complete -c sessiond -n __fish_use_subcommand -l check -d 'Check the configuration'
complete -c sessiond -n __fish_use_subcommand -l print-config -d 'Print the built-in example'
complete -c sessiond -n __fish_use_subcommand -s h -l help -d 'Print how it is used'
complete -c sessiond -n __fish_use_subcommand -s V -l version -d 'Print the version'

complete -c sessiond -n __fish_use_subcommand -a token -d 'Make a token for an account'
complete -c sessiond -n __fish_use_subcommand -a list -d 'Print what there is'
complete -c sessiond -n __fish_use_subcommand -a show -d 'Print all that is known of some'
complete -c sessiond -n __fish_use_subcommand -a top -d 'Show sessions as they come and go'
complete -c sessiond -n __fish_use_subcommand -a kill -d 'End sessions'

complete -c sessiond -n '__fish_seen_subcommand_from token' -l role -x -a 'basic admin' -d 'What the account may do'

set -l asks '__fish_seen_subcommand_from list show top kill'
complete -c sessiond -n $asks -s c -l config -r -F -d 'The configuration of the program that runs'
complete -c sessiond -n $asks -l socket -r -F -d 'The unix socket that it listens on'
complete -c sessiond -n $asks -l address -x -d 'The address that it listens at'
complete -c sessiond -n $asks -l token-file -r -F -d 'Where the token for the address is'
complete -c sessiond -n $asks -s h -l help -d 'Print how it is used'

set -l rows '__fish_seen_subcommand_from list top'
complete -c sessiond -n $rows -l filter -x -d 'Keep what fits'
complete -c sessiond -n $rows -l sort -x -d 'Sort by attributes'

complete -c sessiond -n '__fish_seen_subcommand_from list show' -l json -d 'Print the document of the API'
complete -c sessiond -n '__fish_seen_subcommand_from list' -a 'sessions services servers listeners'
complete -c sessiond -n '__fish_seen_subcommand_from list' -l state -x -a 'open closed any' -d 'Which sessions'
complete -c sessiond -n '__fish_seen_subcommand_from list' -l no-header -d 'Leave the titles out'
complete -c sessiond -n '__fish_seen_subcommand_from show' -a 'session service server listener'
complete -c sessiond -n '__fish_seen_subcommand_from top' -l interval -x -d 'How often it looks'
complete -c sessiond -n '__fish_seen_subcommand_from kill' -l ttl -x -d 'How long they get to end'
