$(eval $(call archive,config,$(wildcard config/*.c)))
