// Every call of Gorse's TypeScript client, in an order in which each has something to do; prints what came back.
import { createRequire } from "node:module";

const { Gorse, GorseException } = createRequire(import.meta.url)("gorsejs");
const [endpoint, secret] = process.argv.slice(2);
const client = new Gorse({ endpoint, secret });
const said = {};
const note = async (name, promise) => (said[name] = await promise);
const refused = async (name, promise) =>
  (said[name] = await promise.catch((error) => [error instanceof GorseException, error.code, error.message]));

const Timestamp = "2022-08-07T00:26:46Z";
const item = { ItemId: "ts:1", IsHidden: false, Labels: ["a", "b"], Categories: ["d", "e"], Timestamp, Comment: "comment" };
const user = { UserId: "ts", Labels: ["a", "b", "c"], Comment: "comment" };
const feedback = (FeedbackType, ItemId) => ({ FeedbackType, UserId: "ts", ItemId, Timestamp });

await note("insertUser", client.insertUser(user));
await note("getUser", client.getUser("ts"));
await note("updateUser", client.updateUser("ts", { UserId: "ts", Comment: "other" }));
await note("getUpdatedUser", client.getUser("ts"));
await note("insertUsers", client.insertUsers([{ UserId: "ts2" }, { UserId: "ts3" }]));
await note("getUsers", client.getUsers({ n: 2 }));
await note("getMoreUsers", client.getUsers({ n: 100, Cursor: said.getUsers.Cursor }));

await note("upsertItem", client.upsertItem(item));
await note("getItem", client.getItem("ts:1"));
await note("updateItem", client.updateItem("ts:1", { ...item, IsHidden: true }));
await note("getUpdatedItem", client.getItem("ts:1"));
await note("showItem", client.updateItem("ts:1", item));
await note("insertItemCategory", client.insertItemCategory("ts:1", "f"));
await note("getItemInCategory", client.getItem("ts:1"));
await note("deleteItemCategory", client.deleteItemCategory("ts:1", "f"));
await note("getItemOutOfCategory", client.getItem("ts:1"));
await note("upsertItems", client.upsertItems([{ ...item, ItemId: "ts:2" }, { ...item, ItemId: "ts:3", Categories: ["g"] }]));
await note("getItems", client.getItems({ n: 2 }));
await note("getMoreItems", client.getItems({ n: 100, Cursor: said.getItems.Cursor }));

await note("insertFeedbacks", client.insertFeedbacks([feedback("like", "ts:1"), feedback("read", "ts:1"), feedback("read", "ts:2")]));
await note("upsertFeedbacks", client.upsertFeedbacks([feedback("like", "ts:1")]));
await note("getFeedback", client.getFeedback({ type: "like", userId: "ts", itemId: "ts:1" }));
await note("getNoFeedback", client.getFeedback({ type: "star", userId: "ts", itemId: "ts:1" }));
await note("getFeedbacks", client.getFeedbacks(undefined, { n: 1000 }));
await note("getFeedbacksByType", client.getFeedbacks("like", { n: 1000 }));
await note("getItemFeedback", client.getItemFeedback("ts:1"));
await note("getItemFeedbackByType", client.getItemFeedbackByType("ts:1", "read"));
await note("getUserFeedback", client.getUserFeedback("ts"));
await note("getUserFeedbackByType", client.getUserFeedbackByType("ts", "read"));

await note("getRecommend", client.getRecommend({ userId: "ts", cursorOptions: { n: 3 } }));
await note("getRecommendInCategory", client.getRecommend({ userId: "ts", category: "g", cursorOptions: { n: 3, offset: 0 } }));
await note("getPopular", client.getPopular({ cursorOptions: { n: 3 } }));
await note("getPopularInCategory", client.getPopular({ category: "g" }));
await note("getLatest", client.getLatest({ cursorOptions: { n: 3 } }));
await note("getLatestInCategory", client.getLatest({ category: "g" }));
await note("getSessionRecommend", client.getSessionRecommend([feedback("like", "ts:1")], { cursorOptions: { n: 3 } }));
await note("getSessionRecommendInCategory", client.getSessionRecommend([feedback("like", "ts:1")], { category: "g" }));
await note("getItemNeighbors", client.getItemNeighbors({ itemId: "ts:1", cursorOptions: { n: 3 } }));
await note("getItemNeighborsInCategory", client.getItemNeighbors({ itemId: "ts:1", category: "d" }));
await note("getUserNeighbors", client.getUserNeighbors({ userId: "ts" }));
await note("writeBack", client.getRecommend({ userId: "ts", category: "g", writeBackType: "read", writeBackDelay: "10m" }));
await note("getWrittenBack", client.getFeedback({ type: "read", userId: "ts", itemId: "ts:3" }));

await note("deleteFeedback", client.deleteFeedback({ type: "like", userId: "ts", itemId: "ts:1" }));
await note("deleteUser", client.deleteUser("ts"));
await refused("getDeletedUser", client.getUser("ts"));
await note("deleteItem", client.deleteItem("ts:1"));
await refused("getDeletedItem", client.getItem("ts:1"));
await refused("badItem", client.upsertItem({ ItemId: "a/b" }));
console.log(JSON.stringify(said));
