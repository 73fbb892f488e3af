# Completion of the portal's commands and their options.
#   bash:  source deploy/completion.bash
#   zsh:   autoload -U compinit bashcompinit && compinit && bashcompinit && source deploy/completion.bash
# Django's own: manage.py answers what fits when it is asked with DJANGO_AUTO_COMPLETE. It needs no running portal.
_hokusai_manage() {
  local program="${COMP_WORDS[0]}" skip=0
  case "$program" in *python*) program="${COMP_WORDS[0]} ${COMP_WORDS[1]}"; skip=1 ;; esac
  case "$program" in *manage.py) ;; *) return ;; esac
  COMPREPLY=($(
    env COMP_WORDS="manage.py ${COMP_WORDS[*]:$((skip + 1))}" COMP_CWORD=$((COMP_CWORD - skip)) DJANGO_AUTO_COMPLETE=1 \
      $program 2>/dev/null
  ))
}
complete -o default -F _hokusai_manage manage.py ./manage.py python python3 .venv/bin/python
