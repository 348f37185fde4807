$(eval $(call archive,agent,$(addprefix enrich/agent/,agent.c derive.c type.c words.c matcher.c triggers.c literals.c literals_walk.c known.c rules.c cache.c sketch.c keyed_hash.c)))
