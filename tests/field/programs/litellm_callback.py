import litellm
import mlflow

mlflow.litellm.autolog()
answer = litellm.completion(
    model="gpt-4o-mini", messages=[{"role": "user", "content": "hello"}], mock_response="good morning"
)
print(answer.choices[0].message.content)
mlflow.flush_trace_async_logging()
