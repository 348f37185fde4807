$(eval $(call archive,flow,$(wildcard flow/*.c)))
