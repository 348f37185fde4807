$(eval $(call archive,base,$(wildcard base/*.c)))
