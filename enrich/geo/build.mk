$(eval $(call archive,geo,$(addprefix enrich/geo/,geo.c base.c record.c source.c special.c)))
