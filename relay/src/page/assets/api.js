// Asks the relay. What goes wrong is an Error with words for a person.

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
  const said = await answer.json().catch(() => ({}));
  if (answer.ok) return said;
  throw problem(answer, said);
}

function problem(answer, said) {
  return Object.assign(new Error(said.detail || `the relay answered ${answer.status}`), { status: answer.status });
}

// Why the relay refuses what a script asked for without being told why, as an EventSource is; null where it does not.
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

// An error in words: who is not allowed can log in.
export function words(error) {
  const login = error.status === 401 || error.status === 403;
  const next = encodeURIComponent(location.pathname + location.search);
  return [error.message, login && [" ", h("a", { href: `/login?next=${next}` }, "Log in")]];
}

export const trouble = (error) => h("p", { class: "wrong", role: "alert" }, words(error));

export const isOperator = document.body.dataset.role === "operator";

// Asks again and again, sooner when the page is looked at again, and says when that does not work.
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
