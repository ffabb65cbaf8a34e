# Completion for bash: the nouns that are installed, then the words and options that --help of what stands there shows.
_edgefleet() {
    local words=("${COMP_WORDS[@]:1:COMP_CWORD-1}") current=${COMP_WORDS[COMP_CWORD]} known
    [[ ${words[*]} == *" -"* ]] && words=("${words[@]:0:2}")
    known=$(edgefleet "${words[@]}" --help 2>/dev/null | grep -oE '^ {2,6}[a-z][a-z-]+|--[a-z][a-z-]+')
    COMPREPLY=($(compgen -W "$known" -- "$current"))
}
complete -o default -F _edgefleet edgefleet
