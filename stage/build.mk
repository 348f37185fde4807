$(eval $(call archive,stage,$(addprefix stage/,address.c config.c config_check.c config_complete.c config_data.c \
  config_error.c config_parse.c config_refusal.c config_same.c config_schema.c config_set.c config_tables.c \
  config_tree.c config_value.c control.c file.c help.c log.c loop.c output.c signature.c stage.c)))
