# What bash offers behind `sessiond`. It needs nothing but bash.

_sessiond() {
	local word=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD - 1]} command= index
	# Of `--option=value` bash makes three words.
	if [[ $word == = ]]; then
		word=
	elif [[ $before == = ]]; then
		before=${COMP_WORDS[COMP_CWORD - 2]}
	fi
	for ((index = 1; index < COMP_CWORD; index++)); do
		case ${COMP_WORDS[index]} in
		token | list | show | top | kill) command=${COMP_WORDS[index]} && break ;;
		esac
	done

	local words reach='-c --config --socket --address --token-file -h --help'
	case $command in
	token) words='--role' ;;
	list) words="sessions services servers listeners --state --filter --sort --no-header --json $reach" ;;
	show) words="session service server listener --json $reach" ;;
	top) words="--filter --sort --interval $reach" ;;
	kill) words="--ttl $reach" ;;
	*) words='-c --config --check --print-config -h --help -V --version token list show top kill' ;;
	esac
	case $before in
	-c | --config | --socket | --token-file)
		compopt -o filenames 2>/dev/null
		mapfile -t COMPREPLY < <(compgen -f -- "$word")
		return
		;;
	--role) words='basic admin' ;;
	--state) words='open closed any' ;;
	--address | --filter | --sort | --interval | --ttl) words= ;;
	esac
	mapfile -t COMPREPLY < <(compgen -W "$words" -- "$word")
}

complete -F _sessiond sessiond
