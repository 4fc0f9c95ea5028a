"use strict";
// A stream of server-sent events, open while the page is visible and not paused: browsers allow six per server.
function connect(url, onNews) {
  const light = document.getElementById("connection");
  const pause = document.getElementById("pause");
  let source = null, isPaused = false;
  function tell(state, text) {
    light.dataset.state = state;
    light.textContent = text;
  }
  function close() {
    if (source) source.close();
    source = null;
  }
  function open() {
    close();
    if (isPaused) return tell("paused", "paused");
    if (document.hidden) return;
    tell("waiting", "connecting");
    source = new EventSource(url);
    source.onmessage = (event) => {
      tell("live", "live");
      onNews(JSON.parse(event.data));
    };
    source.onerror = () => tell("lost", "no connection: is jouletune ui still running?");
  }
  pause.addEventListener("click", () => {
    isPaused = !isPaused;
    pause.textContent = isPaused ? "resume" : "pause";
    open();
  });
  document.addEventListener("visibilitychange", () => (document.hidden ? close() : open()));
  open();
}
