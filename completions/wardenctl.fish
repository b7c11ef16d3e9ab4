complete --keep-order --exclusive --command wardenctl --arguments "(COMPLETE=fish wardenctl -- (commandline --current-process --tokenize --cut-at-cursor) (commandline --current-token))"
