$(eval $(call archive,stage,$(addprefix stage/,control.c file.c help.c loop.c ports.c records.c signature.c stage.c)))
