# A command is a file in cli/ and a row in cli/command.def.
$(eval $(call archive,clean,$(addprefix cli/,clean.c arguments.c)))
$(eval $(call program,bin/millrace,$(wildcard cli/*.c) cli/catch/catch_command.c cli/top/terminal.c cli/top/terminal_kind.c cli/top/top_command.c \
  $(addprefix cli/load/,send.c send_xdp_options.c send_http_account.c send_http_options.c send_http_command.c send_postback_command.c),\
  send_http catch top deliver objects generator look supervisor tally stage flow config shm event base,$(LIBBPF) -lsqlite3 -ljansson -lcyaml -lyaml -lck -lcrypto -lncursesw -ltinfo -pthread -lm))
