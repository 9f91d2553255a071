// Which model answers.
import { post, url } from "./api.js";
import { refresh } from "./known.js";
import { done } from "./messages.js";
import { tell } from "./news.js";
import { versionName } from "./words.js";

export async function activate(version, head = null) {
  await post(url`/v1/models/${version}/activate`, head ? { head } : {});
  done(`The ${versionName(version)} answers now.`);
  await refresh();
  tell("trained");
}
