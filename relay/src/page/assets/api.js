// Requests to the relay. A failure is an Error whose message is for a person.

import { h } from "./dom.js";

const PATIENCE = 20_000; // ms

export async function api(path, { method = "GET", body } = {}) {
  let answer;
  try {
    answer = await fetch(path, {
      method,
      headers: body === undefined ? {} : { "content-type": "application/json" },
      body: body === undefined ? undefined : JSON.stringify(body),
      signal: AbortSignal.timeout(PATIENCE),
    });
  } catch (error) {
    throw new Error(error.name === "TimeoutError" ? "the relay does not answer" : "the relay cannot be reached");
  }
  if (answer.status === 204) return null;
  const content = await answer.json().catch(() => ({}));
  if (answer.ok) return content;
  throw problem(answer, content);
}

function problem(answer, content) {
  return Object.assign(new Error(content.detail || `the relay answered ${answer.status}`), { status: answer.status });
}

// The reason why the relay refuses a request, for scripts that do not see it, such as an EventSource; null if it does
// not refuse.
export async function refusal(path) {
  const enough = new AbortController();
  try {
    const answer = await fetch(path, { signal: enough.signal });
    return answer.ok ? null : problem(answer, await answer.json().catch(() => ({})));
  } catch {
    return null;
  } finally {
    enough.abort();
  }
}

// An error in words, with a link to log in if the request is not allowed.
export function words(error) {
  const login = error.status === 401 || error.status === 403;
  const next = encodeURIComponent(location.pathname + location.search);
  return [error.message, login && [" ", h("a", { href: `/login?next=${next}` }, "Log in")]];
}

export const trouble = (error) => h("p", { class: "wrong", role: "alert" }, words(error));

export const isOperator = document.body.dataset.role === "operator";

// Calls `ask` and `show` at intervals, and at once when the page becomes visible again; calls `fail` with an error.
export function poll(ask, show, fail, every = 2_000) {
  let timer;
  const once = async () => {
    clearTimeout(timer);
    try {
      if (!document.hidden && show(await ask()) === false) return;
    } catch (error) {
      fail(error);
    }
    clearTimeout(timer);
    timer = setTimeout(once, every);
  };
  document.addEventListener("visibilitychange", () => {
    if (!document.hidden) once();
  });
  once();
  return once;
}
