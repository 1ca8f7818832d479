"""CourseGraph: a recommender service for courses, LightGCN over the user-course graph."""

__version__ = "0.1.0"
