// The README's first example by the generated TypeScript client; prints the list.
import createClient from "openapi-fetch";
import type { components, paths } from "./schema.js";

declare const process: { argv: string[] };

const client = createClient<paths>({ baseUrl: process.argv[2] });

const courses: components["schemas"]["Course"][] = [
  { course_id: "python", title: "Python Programming", categories: ["Programming"], level: "beginner" },
  { course_id: "statistics", title: "Statistics", categories: ["Mathematics"], level: "beginner" },
  { course_id: "ml", title: "Machine Learning", categories: ["Data Science"], prerequisites: ["python"] },
];
const interactions: components["schemas"]["Interaction"][] = [
  { user_id: "ada", course_id: "python", type: "complete" },
  { user_id: "ada", course_id: "ml" },
  { user_id: "alan", course_id: "python" },
  { user_id: "alan", course_id: "statistics" },
];

const written = await client.POST("/courses", { body: courses });
if (written.error) throw new Error(written.error.detail);
const sent = await client.POST("/interactions", { body: interactions });
if (sent.error) throw new Error(sent.error.detail);
const { data, error } = await client.GET("/recommendations/{user_id}", { params: { path: { user_id: "ada" }, query: { n: 3 } } });
if (error) throw new Error(error.detail);
console.log(JSON.stringify({ courses: written.data.accepted, interactions: sent.data.accepted, list: data.items.map((item) => [item.course_id, item.percent]), source: data.source }));
const unknown = await client.GET("/users/{user_id}", { params: { path: { user_id: "nobody" } } });
if (unknown.error?.type !== "unknown_user") throw new Error("an unknown user is a problem");
