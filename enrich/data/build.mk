$(eval $(call archive,data_file,enrich/data/data_file.c))
