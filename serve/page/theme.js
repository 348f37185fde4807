// Before the first paint: the colours that were chosen, if any. Otherwise the system's.
(() => {
	let chosen = null;
	try { chosen = localStorage.getItem("millrace.theme"); } catch { /* no storage: the system's */ }
	if (chosen === "light" || chosen === "dark")
		document.documentElement.dataset.theme = chosen;
})();
