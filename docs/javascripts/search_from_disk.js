// Search in pages that are opened from disk. Browsers start no worker there, so its script runs in a hidden frame.
// (The theme would fetch a script for this from the internet.)
if (location.protocol === "file:") {
  window.Worker = class extends EventTarget {
    #waiting = [];
    #inside = null;

    constructor(url) {
      super();
      const frame = document.createElement("iframe");
      frame.hidden = true;
      document.documentElement.append(frame);
      const inside = frame.contentWindow;
      inside.postMessage = data => this.dispatchEvent(new MessageEvent("message", { data }));
      const script = inside.document.createElement("script");
      script.onload = () => {
        this.#inside = inside;
        this.#waiting.splice(0).forEach(data => this.postMessage(data));
      };
      script.src = url;
      inside.document.head.append(script);
    }

    postMessage(data) {
      if (this.#inside) this.#inside.dispatchEvent(new this.#inside.MessageEvent("message", { data }));
      else this.#waiting.push(data);
    }

    terminate() {}
  };
}
