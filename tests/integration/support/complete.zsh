# Prints what zsh offers for a line that is being typed, one word a line.
#
#   zsh -f complete.zsh DIRECTORY LINE
#
# Completion works in an interactive shell alone, so one is started on a
# terminal of its own; there `compadd`, by which all that is offered comes,
# prints it.
zmodload zsh/zpty

setup=$(mktemp)
print -r -- "fpath=(${(q)1} \$fpath)" >$setup
cat >>$setup <<'END'
autoload -Uz compinit
compinit -u -D
zstyle ':completion:*' insert-tab false
bindkey '^I' complete-word
border() { print -r -- '=border=' }
compprefuncs=(border)
comppostfuncs=(border exit)
compadd() {
	# Such calls fill variables, and offer nothing.
	if [[ ${@[1,(i)(-|--)]} == *-(O|A|D)\ * ]]; then
		builtin compadd "$@"
		return
	fi
	typeset -a offered
	builtin compadd -A offered "$@"
	(( $#offered )) && print -rl -- $offered
	true
}
print -r -- '=ready''='
END

zpty inner zsh -f -i
zpty -w inner "PROMPT=; source ${(q)setup}"
zpty -r inner answer $'*=ready=\r\n'
zpty -w -n inner "$2"$'\t'
zpty -r inner answer $'*=border=*=border=\r\n'
rm -f $setup
answer=${answer#*=border=$'\r\n'}
print -rn -- "${${answer%=border=*}//$'\r'/}"
