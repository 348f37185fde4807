$(eval $(call archive,stage,$(addprefix stage/,certificates.c control.c database.c errand.c file.c help.c loop.c ports.c ports_listed.c records.c settle.c sieve.c signature.c stage.c)))
$(eval $(call archive,tokens,stage/tokens.c))
