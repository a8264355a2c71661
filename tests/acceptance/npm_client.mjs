// What an application in Node does with the official package: the figures go out as one JSON line.
import OpenAI from "openai";

const client = new OpenAI({ maxRetries: 0, timeout: 30_000 }); // OPENAI_BASE_URL, OPENAI_API_KEY
const says = (content) => [{ role: "user", content }];
const city = {
  type: "object",
  properties: { city: { type: "string" }, days: { type: "integer", minimum: 3 } },
  required: ["city", "days"],
};
const tools = [{ type: "function", function: { name: "get_weather", parameters: city } }];
const found = {};

const whole = await client.chat.completions.create({
  model: "tollway/echo",
  messages: says("Hello there, world"),
  provider: { only: ["tollway"] },
});
found.whole = {
  id: whole.id,
  provider: whole.provider,
  text: whole.choices[0].message.content,
  finish: whole.choices[0].finish_reason,
  usage: whole.usage,
};

let text = "";
const usages = [];
let chunks = 0;
for await (const chunk of await client.chat.completions.create({
  model: "tollway/lorem",
  messages: says("[[tokens=40]]"),
  stream: true,
})) {
  chunks += 1;
  text += chunk.choices[0]?.delta?.content ?? "";
  if (chunk.usage) usages.push({ at: chunks, ...chunk.usage });
  found.stream = { id: chunk.id, text, chunks, usages };
}

const first = await client.chat.completions.create({
  model: "tollway/tools",
  messages: says("Weather?"),
  tools,
});
const call = first.choices[0].message.tool_calls[0];
const second = await client.chat.completions.create({
  model: "tollway/tools",
  messages: [
    ...says("Weather?"),
    first.choices[0].message,
    { role: "tool", tool_call_id: call.id, content: "sunny" },
  ],
  tools,
});
const runner = client.chat.completions.stream({
  model: "tollway/tools",
  messages: says("Weather?"),
  tools,
});
const streamed = (await runner.finalChatCompletion()).choices[0];
found.tools = {
  name: call.function.name,
  arguments: JSON.parse(call.function.arguments),
  answer: second.choices[0].message.content,
  streamed: JSON.parse(streamed.message.tool_calls[0].function.arguments),
  finish: streamed.finish_reason,
};
found.ids = [whole.id, found.stream.id, first.id, second.id];
found.costs = [whole, first, second].map((answer) => answer.usage.cost);

const ids = [];
for await (const model of client.models.list()) ids.push(model.id);
found.models = { count: ids.length, echo: ids.includes("tollway/echo") };

try {
  await client.chat.completions.create({ model: "tollway/ecco", messages: says("?") });
} catch (error) {
  found.unknown = { kind: error.constructor.name, status: error.status, message: error.message };
}
try {
  const broken = await client.chat.completions.create({
    model: "tollway/fault",
    messages: says("one two three [[fault error_after=3]]"),
    stream: true,
  });
  text = "";
  for await (const chunk of broken) text += chunk.choices[0]?.delta?.content ?? "";
} catch (error) {
  found.broken = { text, code: error.error?.code, message: error.message };
}
console.log(JSON.stringify(found));
