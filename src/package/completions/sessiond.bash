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
		token) command=token && break ;;
		esac
	done

	COMPREPLY=()
	case $before in
	-c | --config)
		compopt -o filenames 2>/dev/null
		mapfile -t COMPREPLY < <(compgen -f -- "$word")
		return
		;;
	--role)
		mapfile -t COMPREPLY < <(compgen -W 'basic admin' -- "$word")
		return
		;;
	esac

	local words
	case $command in
	token) words='--role' ;;
	*) words='-c --config --check --print-config -h --help -V --version token' ;;
	esac
	mapfile -t COMPREPLY < <(compgen -W "$words" -- "$word")
}

complete -F _sessiond sessiond
