/* Includes the rows of routes.def. Define what is wanted of TYPES, ROUTE, PATH, REST and ELSEWHERE
 * before; the others expand to nothing, but ROUTE without a definition is a PATH. All are undefined
 * afterwards. */
#ifndef TYPES
#define TYPES(symbol, status, error, ...)
#endif
#ifndef PATH
#define PATH(name, path, match, methods, handler, takes, answers)
#endif
#ifndef ROUTE
#define ROUTE(name, path, match, methods, types, outlet, cors, tokens, handler, takes, answers) \
	PATH(name, path, match, methods, handler, takes, answers)
#endif
#ifndef REST
#define REST(name, methods, handler, takes, answers)
#endif
#ifndef ELSEWHERE
#define ELSEWHERE(path, match, hint)
#endif

#include "ingest/http/routes.def"

#undef TYPES
#undef ROUTE
#undef PATH
#undef REST
#undef ELSEWHERE
