# Model and layout stand apart from the terminal: tests use them without one.
$(eval $(call archive,top,$(addprefix cli/top/,columns.c frame.c headline.c help.c keys.c layout.c model.c sample.c short.c view.c)))
